#include "tests/loopback/material.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/loopback/program.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kTarBlock = 512;
constexpr std::size_t kSizeOffset = 124;
constexpr std::size_t kSizeDigits = 11;
constexpr std::size_t kChecksumOffset = 148;
constexpr std::size_t kChecksumBytes = 8;

std::string name_of(Signer signer) {
  switch (signer) {
    case Signer::good:
      return "p256";
    case Signer::unknown:
      return "unknown";
    case Signer::impostor:
      return "impostor";
    case Signer::expired:
      return "expired";
    case Signer::not_yet_valid:
      return "not-yet-valid";
    case Signer::wrong_purpose:
      return "wrong-purpose";
    case Signer::no_purpose:
      return "no-purpose";
    case Signer::no_usage:
      return "no-usage";
    case Signer::short_rsa:
      return "rsa2048";
    case Signer::other_curve:
      return "p521";
    case Signer::explicit_curve:
      return "explicit";
    case Signer::sha1_certificate:
      return "sha1";
    case Signer::below_intermediate:
      return "brainpool";
    case Signer::second:
      return "p384";
    case Signer::renewed:
      return "p256-renewed";
    case Signer::revoked:
      return "revoked";
  }
  throw std::logic_error("no such signer");
}

/// A root filesystem whose contents follow from the version.
void make_image(const std::string& path, const std::string& version, bool comes_up) {
  const TemporaryDirectory tree;
  for (const char* folder : {"/etc", "/sbin", "/lib"}) std::filesystem::create_directory(tree.path() + folder);
  write_file(tree / "etc/firmware-version", version + "\n");
  if (comes_up) write_file(tree / "sbin/init", "#!/bin/sh\n", 0755);
  std::seed_seq seed(version.begin(), version.end());
  std::mt19937_64 random(seed);
  std::string noise(5 << 20, '\0');
  for (std::size_t i = 0; i + 8 <= noise.size(); i += 8) {
    const std::uint64_t value = random();
    noise.replace(i, 8, reinterpret_cast<const char*>(&value), 8);
  }
  write_file(tree / "lib/firmware.bin", noise);
  write_file(tree / "lib/zeros.bin", std::string(2 << 20, '\0'));
  make_file(path, Material::image_bytes());
  run_tool(
      {"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal", "-d", tree.path(), path});
}

std::string octal(std::uint64_t value, std::size_t digits) {
  std::string text(digits, '0');
  for (std::size_t i = digits; i-- > 0; value /= 8) text[i] = static_cast<char>('0' + value % 8);
  return text;
}

std::string padding_after(std::size_t size) { return std::string((kTarBlock - size % kTarBlock) % kTarBlock, '\0'); }

}  // namespace

void write_file(const std::string& path, const std::string& contents, unsigned int mode) {
  {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << contents;
    if (!file.flush()) throw std::runtime_error(path + " cannot be written");
  }
  if (::chmod(path.c_str(), mode) != 0) throw std::runtime_error("the mode of " + path + " cannot be set");
}

Material::Material(std::string folder) : folder_(std::move(folder)) {}

const Material& Material::get() {
  static const Material material = [] {
    const char* const chosen = std::getenv("SLOTKEEPER_RIG_MATERIAL");
    const std::string folder = chosen != nullptr && *chosen != '\0' ? chosen : SLOTKEEPER_MATERIAL_DIR;
    std::filesystem::create_directories(folder);
    const int lock = ::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0 || ::flock(lock, LOCK_EX) != 0) throw std::runtime_error("cannot lock " + folder);
    struct stat program {};
    if (::stat(program_path().c_str(), &program) != 0) throw std::runtime_error(program_path() + " is not there");
    const std::string stamp = std::to_string(program.st_mtim.tv_sec) + "." + std::to_string(program.st_mtim.tv_nsec) +
                              " " + std::to_string(program.st_size) + " " + program_path();
    const Material made(folder + "/made");
    const bool present = std::filesystem::exists(folder + "/made-for") && contents_of(folder + "/made-for") == stamp;
    if (!present) {
      std::filesystem::remove_all(made.folder_);
      std::filesystem::create_directories(made.folder_);
      made.make();
      write_file(folder + "/made-for", stamp);
    }
    ::close(lock);
    return made;
  }();
  return material;
}

void Material::make() const {
  const Answer keys = run_program({SLOTKEEPER_SOURCE_DIR "/fixtures/keys/make-keys", folder_ + "/keys"});
  if (keys.exit_status != 0) throw std::runtime_error("make-keys failed: " + keys.story());
  for (const std::string version : {"1.0.0", "2.0.0", "3.0.0", "9.0.0"}) {
    make_image(image(version), version, version != "9.0.0");
    if (version == "1.0.0") continue;
    // make_bundle would ask for this material while it is being made.
    const std::string manifest = folder_ + "/" + version + ".toml";
    write_file(manifest, "version = \"" + version +
                             "\"\ncompatible = \"konnektor-x1\"\n[[image]]\nvolume = \"rootfs\"\n" +
                             "file = \"rootfs-" + version + ".ext4\"\n");
    const Answer answer =
        run_program({program_path(), "--json", "bundle", "create", "--manifest", manifest, "--cert",
                     certificate(Signer::good), "--key", key(Signer::good), "--output", bundle(version)});
    if (answer.exit_status != 0) throw std::runtime_error("bundle create failed: " + answer.story());
  }
}

std::string Material::certificate(Signer signer) const { return folder_ + "/keys/" + name_of(signer) + ".pem"; }
std::string Material::key(Signer signer) const { return folder_ + "/keys/" + name_of(signer) + ".key"; }
std::string Material::intermediate() const { return folder_ + "/keys/intermediate.pem"; }
std::string Material::image(const std::string& version) const { return folder_ + "/rootfs-" + version + ".ext4"; }
std::string Material::bundle(const std::string& version) const { return folder_ + "/" + version + ".skb"; }

void make_bundle(const BundleRecipe& recipe, const std::string& output) {
  const Material& material = Material::get();
  std::string manifest =
      "version = \"" + recipe.version + "\"\ncompatible = \"" + recipe.compatible + "\"\n" + recipe.more;
  for (const auto& [volume, file] : recipe.images) {
    manifest += "[[image]]\nvolume = \"" + volume + "\"\nfile = \"" + file + "\"\n";
  }
  write_file(output + ".toml", manifest);
  std::vector<std::string> command = {program_path(), "--json",
                                      "bundle",       "create",
                                      "--manifest",   output + ".toml",
                                      "--cert",       material.certificate(recipe.signer),
                                      "--key",        material.key(recipe.signer),
                                      "--output",     output};
  if (recipe.with_intermediate) command.insert(command.end(), {"--intermediate", material.intermediate()});
  command.insert(command.end(), recipe.options.begin(), recipe.options.end());
  const Answer answer = run_program(command);
  if (answer.exit_status != 0) throw std::runtime_error("bundle create failed: " + answer.story());
}

BundleFile BundleFile::read(const std::string& path) {
  const std::string bytes = contents_of(path);
  BundleFile bundle;
  for (std::size_t offset = 0; offset + kTarBlock <= bytes.size() && bytes[offset] != '\0';) {
    Member member;
    member.header = bytes.substr(offset, kTarBlock);
    member.name = member.header.substr(0, member.header.find('\0'));
    const std::size_t size = std::stoull(member.header.substr(kSizeOffset, kSizeDigits), nullptr, 8);
    member.data = bytes.substr(offset + kTarBlock, size);
    offset += kTarBlock + size + padding_after(size).size();
    bundle.members_.push_back(std::move(member));
  }
  return bundle;
}

BundleFile::Member& BundleFile::member(const std::string& name) {
  for (auto& member : members_) {
    if (member.name == name) return member;
  }
  throw std::runtime_error("the bundle has no member " + name);
}

void BundleFile::replace(const std::string& name, const std::string& data) {
  Member& changed = member(name);
  changed.data = data;
  std::string& header = changed.header;
  header.replace(kSizeOffset, kSizeDigits, octal(data.size(), kSizeDigits));
  header.replace(kChecksumOffset, kChecksumBytes, std::string(kChecksumBytes, ' '));
  std::uint64_t sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  header.replace(kChecksumOffset, kChecksumBytes, octal(sum, 6) + std::string("\0 ", 2));
}

void BundleFile::sign(Signer signer) {
  const TemporaryDirectory folder;
  write_file(folder / "manifest", member("manifest.json").data);
  std::vector<std::string> command = {"openssl",  "cms",
                                      "-sign",    "-binary",
                                      "-md",      "sha256",
                                      "-in",      folder / "manifest",
                                      "-signer",  Material::get().certificate(signer),
                                      "-inkey",   Material::get().key(signer),
                                      "-outform", "DER",
                                      "-out",     folder / "cms"};
  if (signer == Signer::short_rsa) command.insert(command.end(), {"-keyopt", "rsa_padding_mode:pss"});
  run_tool(command);
  replace("manifest.cms", contents_of(folder / "cms"));
}

std::vector<std::uint64_t> BundleFile::boundaries() const {
  std::vector<std::uint64_t> offsets = {0};
  for (const auto& member : members_) {
    offsets.push_back(offsets.back() + kTarBlock + member.data.size() + padding_after(member.data.size()).size());
  }
  return offsets;
}

std::string BundleFile::bytes() const {
  std::string all;
  for (const auto& member : members_) all += member.header + member.data + padding_after(member.data.size());
  return all + std::string(2 * kTarBlock, '\0');
}

}  // namespace slotkeeper::test

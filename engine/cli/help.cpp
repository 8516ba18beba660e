#include "engine/cli/help.hpp"

#include <algorithm>
#include <array>

namespace slotkeeper::cli {
namespace {

constexpr std::array kTopics = {
    HelpTopic{"install", "BUNDLE [--reboot] [--force]", "install a bundle into the other slot and arm it",
              R"(BUNDLE is a file or an http(s) URL. The running firmware is never written. The
next boot tries the new firmware; 'slotkeeper confirm' keeps it, anything else
returns to the old firmware and its configuration.

  --reboot            restart the device once the new firmware is armed
  --force             install even a bundle that the running firmware came from
)"},
    HelpTopic{"preflight", "BUNDLE", "show what an install would do and whether it may",
              R"(Prints every gate with its figures and every write with its size, and changes
nothing.
)"},
    HelpTopic{"recover", "[--reboot]", "finish or undo what a crash or reboot left behind",
              R"(Run early at every boot, before the services that use the permanent partition.
Safe at any time and any number of times.

  --reboot            restart the device where a rollback needs it, and when the
                      recovery of a trial boot failed
)"},
    HelpTopic{"confirm", "[--force] [--deadline] [--reboot]",
              "run the health checks of a trial boot and keep the firmware",
              R"(  --force             keep the firmware although a health check failed
  --deadline          run no checks: wait until the time of the trial is over
                      (confirm-within) and end it if it is not confirmed by then
  --reboot            restart the device when the trial is not healthy
)"},
    HelpTopic{"rollback", "[--to-previous]", "return to the original firmware and its configuration",
              R"(  --to-previous       also when the update was confirmed already
)"},
    HelpTopic{"cancel", "", "end a running install before it is armed", R"(The running install undoes its work.
)"},
    HelpTopic{"status", "", "slots, versions, transaction and permanent partition", ""},
    HelpTopic{"history", "", "past transactions, newest first", ""},
    HelpTopic{"verify", "", "re-read slots, snapshot and permanent partition",
              R"(Compares them with the recorded checksums. Changes nothing.
)"},
    HelpTopic{"compact", "[--dry-run]", "make room on the permanent partition",
              R"(Reclaims only what the configured classes allow.

  --dry-run           show what would be reclaimed and change nothing
)"},
    HelpTopic{"mark", "SLOT good|bad|active", "override the health or order of a slot",
              R"(SLOT is A or B. 'active' makes it the slot of the next boot, if it verifies.
)"},
    HelpTopic{"provision", "[--factory BUNDLE] [--force]", "prepare a device once",
              R"(Creates the state store, initialises the boot environment and records what the
booted slot holds.

  --factory BUNDLE    check the booted slot against this bundle first
  --force             replace a valid state store; its history is lost
)"},
    HelpTopic{"quarantine list", "", "bundles that failed repeatedly", ""},
    HelpTopic{"quarantine clear", "[ID]", "allow one of them, or all, to be tried again", ""},
    HelpTopic{"bundle create",
              "--manifest FILE --cert PEM --key KEY\n         [--intermediate PEM]... --output FILE\n"
              "         [--recipient PEM]...\n"
              "         [--delta-from OLD.skb [--full NAME] [--trust PEM]\n"
              "          [--decryption-key PEM --decryption-cert PEM]]",
              "pack images into a bundle and sign it",
              R"(  --manifest FILE     TOML description; image paths are relative to it
  --cert PEM          the signer's certificate
  --key KEY           its private key: a PEM file or a pkcs11: URI
  --intermediate PEM  certificate between signer and anchor; may be repeated
  --output FILE       the bundle to write; must not exist
  --recipient PEM     encrypt the images for the holder of this certificate; may
                      be repeated, one of them suffices to decrypt

A delta is a small bundle for devices that run the firmware of OLD.skb:
  --delta-from OLD.skb
                      make the images from those of this bundle, which is no
                      delta itself; other devices refuse the result
  --full NAME         file name of the full bundle of the same images that lies
                      beside the delta, in its folder or below the same URL:
                      other devices install that one instead
  --trust PEM         who signed OLD.skb (default: --cert and --intermediate)
  --decryption-key PEM, --decryption-cert PEM
                      to decrypt OLD.skb
)"},
    HelpTopic{"bundle timestamp",
              "--request FILE BUNDLE\n       slotkeeper bundle timestamp --response FILE [--output FILE] BUNDLE",
              "have it stamped when a bundle was signed",
              R"(For devices whose clock cannot be trusted ([trust] time = "timestamp"). First
a request is written, which an authority answers (RFC 3161; 'openssl ts -reply',
or a service on the network); then the answer is put into the bundle. Of several
signatures each is stamped.

  --request FILE      write a request for the first signature without a time
                      stamp; FILE must not exist
  --response FILE     add the answer, and replace BUNDLE at once
  --output FILE       write FILE, which must not exist, and leave BUNDLE alone
)"},
    HelpTopic{"bundle info", "BUNDLE", "what is in a bundle and whether it is trusted", ""},
    HelpTopic{"bundle extract",
              "BUNDLE VOLUME FILE [--delta-from OLD.skb]\n"
              "         [--decryption-key PEM --decryption-cert PEM]",
              "write one image of a bundle into a file",
              R"(The image is verified on the way. FILE must not exist.

  --delta-from OLD.skb
                      of a delta: the bundle it was made from
  --decryption-key PEM, --decryption-cert PEM
                      of an encrypted bundle: the private key and certificate of
                      a recipient (default: those of the configuration)
)"},
    HelpTopic{"bundle sign",
              "--append --cert PEM --key KEY\n         [--intermediate PEM]... [--trust PEM] [--output FILE] BUNDLE",
              "add a signature to a bundle",
              R"(For devices with 'signatures-required' above 1: each signer adds a signature of
an own key, in any order. The images are copied as they are, and BUNDLE is
replaced at once when everything is written.

  --append            keep the signatures that are there
  --cert PEM          the signer's certificate
  --key KEY           its private key: a PEM file or a pkcs11: URI
  --intermediate PEM  certificate between signer and anchor; may be repeated
  --trust PEM         sign only when one of the signatures is good by these
                      anchors; without it, when all of them match the bundle
  --output FILE       write FILE, which must not exist, and leave BUNDLE alone
)"},
    HelpTopic{
        "bundle resign",
        "--cert PEM --key KEY [--intermediate PEM]...\n         [--trust PEM | --unverified] [--output FILE] BUNDLE",
        "replace all signatures of a bundle by one",
        R"(For a key that takes the place of another. The images are copied as they are,
and BUNDLE is replaced at once when everything is written. The signatures of
before must be good: by --trust, else by the configuration.

  --cert PEM          the signer's certificate
  --key KEY           its private key: a PEM file or a pkcs11: URI
  --intermediate PEM  certificate between signer and anchor; may be repeated
  --trust PEM         anchors that the signatures of before are measured against
  --unverified        sign whatever the bundle holds, whoever signed it
  --output FILE       write FILE, which must not exist, and leave BUNDLE alone
)"},
};

constexpr std::string_view kGlobalOptions = R"(
Options for every command, before or after it:
  --config FILE       configuration (default: /etc/slotkeeper/system.toml)
  --json              one JSON object a line on standard output
  --booted-slot A|B   the booted slot, where the system cannot tell
  -q, --quiet         say no more than the result
  -v, --verbose       say more
  -h, --help          this text, or that of the command
  --version           the version
)";

constexpr std::string_view kExitStatus = R"(
Exit status:
    0  done
    1  internal error
    2  usage, configuration or environment; nothing was changed
    3  postponed: a gate says no; nothing was changed
    4  the bundle is refused; nothing was changed
    5  the storage is inconsistent or failed; rolled back
    6  not now; nothing was changed
    7  the trial is not healthy; the original starts at the next boot
    8  the bundle's source cannot be read to its end
  130  cancelled; rolled back
)";

constexpr std::string_view kExamples = R"(
Examples:
  slotkeeper preflight /tmp/update.skb
  slotkeeper install /tmp/update.skb --reboot
  slotkeeper confirm
  slotkeeper --json status
)";

std::string padded(std::string_view text, std::size_t width) {
  std::string out(text);
  out.resize(std::max(width, text.size() + 1), ' ');
  return out;
}

std::string list_of_commands(std::string_view group) {
  constexpr std::size_t kWidth = 18;
  std::string out;
  for (const HelpTopic& topic : kTopics)
    if (group.empty() || topic.command.starts_with(std::string(group) + " "))
      out += "  " + padded(topic.command, kWidth) + std::string(topic.summary) + "\n";
  return out;
}

}  // namespace

std::span<const HelpTopic> help_topics() { return kTopics; }

std::string help_text(std::string_view command) {
  for (const HelpTopic& topic : kTopics) {
    if (topic.command != command) continue;
    std::string text = "Usage: slotkeeper " + std::string(command);
    if (!topic.usage.empty()) text += " " + std::string(topic.usage);
    text += "\n\nslotkeeper " + std::string(command) + ": " + std::string(topic.summary) + ".\n";
    if (!topic.text.empty()) text += "\n" + std::string(topic.text);
    return text + std::string(kGlobalOptions);
  }
  const std::string list = list_of_commands(command);
  if (command.empty() || list.empty())
    return "Usage: slotkeeper [OPTIONS] COMMAND ...\n\nUpdates the firmware of this device as one transaction.\n\n"
           "Commands:\n" +
           list_of_commands("") + std::string(kGlobalOptions) + std::string(kExitStatus) + std::string(kExamples);
  return "Usage: slotkeeper " + std::string(command) + " COMMAND ...\n\nCommands:\n" + list +
         std::string(kGlobalOptions);
}

std::string version_text() { return "slotkeeper " SLOTKEEPER_VERSION "\n"; }

}  // namespace slotkeeper::cli

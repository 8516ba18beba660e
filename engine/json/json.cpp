#include "engine/json/json.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>
#include <new>

#include <nlohmann/json.hpp>

namespace slotkeeper {
namespace {

constexpr std::size_t kDepthMax = 16;

// Counts what the parser has taken, so that a refusal by us (depth, duplicate key) can name its offset as well.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* taken) : at_(at), taken_(taken) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*taken_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* taken_;
};

class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(const std::size_t& taken) : taken_(taken) {}

  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(number_integer_t value) override { return put(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max()))
      return refuse("a number does not fit a 64-bit signed integer");
    return put(Json(static_cast<std::int64_t>(value)));
  }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return refuse("a number is not a 64-bit signed integer");
  }
  bool string(string_t& value) override { return put(Json(std::move(value))); }
  bool binary(binary_t& /*value*/) override { return refuse("binary data"); }
  bool start_object(std::size_t /*size*/) override { return open(Json(JsonObject{})); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t /*size*/) override { return open(Json(JsonArray{})); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    open_.back().key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*last_token*/,
                   const nlohmann::detail::exception& /*why*/) override {
    // The library's own text quotes the input; the offset says as much and is short.
    if (refusal_.empty()) {
      refusal_ = "it is not valid JSON";
      offset_ = position == 0 ? 0 : position - 1;
    }
    return false;
  }

  [[nodiscard]] Error error() const {
    return make_error(Errc::corrupt, "JSON: " + refusal_ + " (byte " + std::to_string(offset_) + ")");
  }
  [[nodiscard]] Json take() { return std::move(root_); }

 private:
  struct Open {
    Json value;
    std::string key;  // of the member that is being read
  };

  bool refuse(std::string why) {
    refusal_ = std::move(why);
    offset_ = taken_ == 0 ? 0 : taken_ - 1;
    return false;
  }

  bool open(Json container) {
    if (open_.size() == kDepthMax) return refuse("it is nested deeper than " + std::to_string(kDepthMax) + " levels");
    open_.push_back(Open{std::move(container), {}});
    return true;
  }

  bool close() {
    Json done = std::move(open_.back().value);
    // Sorted, not searched key by key: hostile input with very many keys must not cost their square.
    if (const JsonObject* members = done.as_object()) {
      std::vector<std::string_view> names;
      names.reserve(members->size());
      for (const auto& [name, value] : *members) names.push_back(name);
      std::sort(names.begin(), names.end());
      const auto twice = std::adjacent_find(names.begin(), names.end());
      if (twice != names.end()) return refuse("the key \"" + escape_bytes(*twice) + "\" appears twice");
    }
    open_.pop_back();
    return put(std::move(done));
  }

  bool put(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (JsonArray* array = open_.back().value.as_array()) {
      array->push_back(std::move(value));
    } else {
      open_.back().value.as_object()->emplace_back(std::move(open_.back().key), std::move(value));
    }
    return true;
  }

  const std::size_t& taken_;
  std::vector<Open> open_;
  Json root_;
  std::string refusal_;
  std::size_t offset_ = 0;
};

void print_string(const std::string& value, std::string& out) {
  using nlohmann::json;
  out += json(value).dump(-1, ' ', false, json::error_handler_t::replace);
}

void print_value(const Json& value, std::string& out) {
  if (const bool* boolean = value.as_bool()) {
    out += *boolean ? "true" : "false";
  } else if (const std::int64_t* integer = value.as_integer()) {
    out += std::to_string(*integer);
  } else if (const std::string* string = value.as_string()) {
    print_string(*string, out);
  } else if (const JsonArray* array = value.as_array()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i != 0) out += ',';
      print_value((*array)[i], out);
    }
    out += ']';
  } else if (const JsonObject* object = value.as_object()) {
    out += '{';
    for (std::size_t i = 0; i < object->size(); ++i) {
      if (i != 0) out += ',';
      print_string((*object)[i].first, out);
      out += ':';
      print_value((*object)[i].second, out);
    }
    out += '}';
  } else {
    out += "null";
  }
}

}  // namespace

std::string Json::print() const {
  std::string out;
  print_value(*this, out);
  return out;
}

Result<Json> Json::parse(std::string_view text, std::size_t size_max_bytes) {
  if (text.size() > size_max_bytes)
    return make_error(Errc::corrupt, "JSON: its " + std::to_string(text.size()) + " bytes are more than the " +
                                         std::to_string(size_max_bytes) + " allowed (byte " +
                                         std::to_string(size_max_bytes) + ")");
  // The library takes a zero byte for the end of the text, so that anything could hide behind one.
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)
    return make_error(Errc::corrupt, "JSON: it holds a zero byte (byte " + std::to_string(zero) + ")");
  std::size_t taken = 0;
  TreeBuilder builder(taken);
  try {
    CountingIterator begin(text.data(), &taken);
    CountingIterator end(text.data() + text.size(), &taken);
    if (!nlohmann::json::sax_parse(begin, end, &builder)) return builder.error();
  } catch (const std::bad_alloc&) {
    throw;  // handled in main: nothing below it can do better
  } catch (const std::exception&) {
    return make_error(Errc::corrupt, "JSON: it is not valid JSON (byte " + std::to_string(taken) + ")");
  }
  return builder.take();
}

}  // namespace slotkeeper

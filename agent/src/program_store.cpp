#include "program_store.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <utility>

namespace splitfleet {
namespace {

constexpr std::size_t kMaxPath = 4096;

std::string hexadecimal(std::size_t number) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%016zx", number);
  return text.data();
}

// Length and checksum. std::hash may differ from one build of the agent to another, whose build is part of
// every key.
std::string seal_of(const std::string& binary) {
  return std::to_string(binary.size()) + " " + hexadecimal(std::hash<std::string>{}(binary));
}

}  // namespace

ProgramStore::ProgramStore(std::string folder) : folder_(std::move(folder)) {
  if (!folder_.empty())
    mkdir(folder_.c_str(), 0777);  // usually there already; saving tells whether it can be used
}

std::string ProgramStore::path_of(const std::string& key) const {
  return folder_ + "/" + hexadecimal(std::hash<std::string>{}(key)) + ".clbin";
}

std::optional<std::string> ProgramStore::load(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  std::ifstream file(path_of(key), std::ios::binary);
  std::string found_key;
  std::string seal;
  if (!std::getline(file, found_key) || found_key != key || !std::getline(file, seal)) return std::nullopt;
  std::string binary((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (binary.empty() || seal != seal_of(binary)) return std::nullopt;
  return binary;
}

void ProgramStore::save(const std::string& key, const std::string& binary) const {
  if (folder_.empty() || binary.empty()) return;
  const std::string path = path_of(key);
  const std::string unfinished = path + "." + std::to_string(getpid());
  {
    std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
    file << key << '\n' << seal_of(binary) << '\n' << binary;
    file.close();
    if (file && std::rename(unfinished.c_str(), path.c_str()) == 0) return;
  }
  std::remove(unfinished.c_str());
}

std::string default_store_folder() {
  const char* chosen = std::getenv("SPLITFLEET_CACHE_DIR");
  if (chosen != nullptr) return chosen;
  std::string program(kMaxPath, '\0');
  const ssize_t size = readlink("/proc/self/exe", &program[0], program.size());
  if (size <= 0) return "";
  program.resize(static_cast<std::size_t>(size));
  return program.substr(0, program.rfind('/')) + "/cache";
}

}  // namespace splitfleet

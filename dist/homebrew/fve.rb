# Untried: no machine with Homebrew was at hand. `brew install --HEAD --formula ./dist/homebrew/fve.rb` in a clone of the
# repository. Only for Linux, since the command line is.
class Fve < Formula
  desc "Read, mount, create and repair BitLocker volumes"
  license any_of: ["MIT", "Apache-2.0"]
  head File.expand_path("../..", __dir__), using: :git, branch: "main"

  depends_on "pkg-config" => :build
  depends_on "rust" => :build
  depends_on "libfuse"
  depends_on :linux
  depends_on "tpm2-tss"

  def install
    system "cargo", "install", *std_cargo_args, "--features", "full"
    system bin/"fve", "man", "--to", buildpath/"man"
    man1.install Dir["man/*.1"]
    man8.install Dir["man/*.8"]
    generate_completions_from_executable(bin/"fve", "completions")
  end

  test do
    assert_match "malformed", shell_output("#{bin}/fve recovery check 111111 2>&1", 7)
  end
end

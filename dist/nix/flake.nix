# Untried: no machine with Nix was at hand. `nix build ./dist/nix` in a clone of the repository.
{
  description = "Read, mount, create and repair BitLocker volumes";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "fve";
          version = "0.1.0";
          src = ../..;
          cargoLock.lockFile = ../../Cargo.lock;
          buildFeatures = [ "full" ];
          # The tests need root, FUSE and other programs; .ci/run runs them.
          doCheck = false;
          nativeBuildInputs = [ pkgs.pkg-config pkgs.installShellFiles pkgs.makeWrapper ];
          buildInputs = [ pkgs.tpm2-tss ];
          postInstall = ''
            $out/bin/fve man --to man
            installManPage man/*
            installShellCompletion --cmd fve \
              --bash <($out/bin/fve completions bash) \
              --zsh <($out/bin/fve completions zsh) \
              --fish <($out/bin/fve completions fish)
            ln -s fve $out/bin/mount.fve
            # The program loads libtss2 when a TPM is used.
            wrapProgram $out/bin/fve --suffix LD_LIBRARY_PATH : ${pkgs.tpm2-tss}/lib
          '';
        };
      });
    };
}

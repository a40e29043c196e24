//! Runs cargo on this workspace.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths;

/// What a static program is built for: the machine's own target, named, so that build scripts
/// and procedural macros are not static, too.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// A call of cargo in the checkout.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::checkout());
    // What cargo told this program of its own package is not for others: a build script that
    // watches one of these would run again whenever cargo is called from elsewhere.
    for (name, _) in std::env::vars_os() {
        let ours = |prefix: &str| name.to_string_lossy().starts_with(prefix);
        if ours("CARGO_PKG_") || ours("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// A call of `cargo build` that makes static programs. Its products are apart from the others',
/// because other flags would have everything built anew each time.
pub fn cargo_build_static() -> Command {
    let mut cargo = cargo();
    cargo
        .args([
            "build",
            "--release",
            "--target",
            STATIC_TARGET,
            "--target-dir",
        ])
        .arg(static_target())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // They go into initramfs archives, which are memory of every guest.
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

fn static_target() -> PathBuf {
    paths::target().join("static")
}

/// Where [`cargo_build_static`] puts programs.
pub fn static_programs() -> PathBuf {
    static_target().join(STATIC_TARGET).join("release")
}

/// Runs `cargo`, whose own output shows.
///
/// # Errors
/// When it fails; it has said why.
pub fn run(cargo: &mut Command) -> Result<()> {
    if !cargo
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?
        .success()
    {
        bail!("the build failed");
    }
    Ok(())
}

/// A test program.
#[derive(Debug)]
pub struct TestProgram {
    /// Name of its package.
    pub package: String,
    /// Name of its file in `tests/`, or of the library or program whose own tests it has.
    pub name: String,
    /// Whether it is a file in `tests/`.
    pub is_integration: bool,
    /// The program.
    pub path: PathBuf,
    /// Where cargo would run it.
    pub directory: PathBuf,
}

/// Runs `cargo`, a build, and returns the test programs that it made.
///
/// # Errors
/// When it fails; it has said why.
pub fn test_programs(cargo: &mut Command) -> Result<Vec<TestProgram>> {
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the build of the tests failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages.lines().filter_map(test_program).collect())
}

/// A line of cargo's output, if it is about a test program.
fn test_program(line: &str) -> Option<TestProgram> {
    let message: Value = serde_json::from_str(line).ok()?;
    if !message.get("profile")?.get("test")?.as_bool()? {
        return None;
    }
    let target = message.get("target")?;
    let kinds = target.get("kind")?.as_array()?;
    let manifest = PathBuf::from(message.get("manifest_path")?.as_str()?);
    let directory = manifest.parent()?.to_owned();
    Some(TestProgram {
        package: directory.file_name()?.to_str()?.to_owned(),
        name: target.get("name")?.as_str()?.to_owned(),
        is_integration: kinds.iter().any(|kind| kind == "test"),
        path: message.get("executable")?.as_str()?.into(),
        directory,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_the_rest() {
        let message = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/net/Cargo.toml",
                    "target":{{"kind":["test"],"name":"it"}},"profile":{{"test":{test}}},
                    "executable":"/t/it-1"}}"#
            )
        };
        let found = test_program(&message(true)).unwrap();
        assert_eq!((&*found.package, &*found.name), ("net", "it"));
        assert!(found.is_integration && found.directory.ends_with("net"));
        assert!(test_program(&message(false)).is_none());
        assert!(test_program("a warning").is_none());
    }
}

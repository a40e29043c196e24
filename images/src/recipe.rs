//! What an image is made of: a TOML file.

use serde::Deserialize;
use thiserror::Error;

/// The recipe that `images build` uses when none is named.
pub const DEFAULT: &str = include_str!("../recipes/default.toml");

/// Longest name of an image, in bytes.
const NAME_LIMIT: usize = 63;

/// Why a recipe is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// It is not TOML, or lacks a field, or has an unknown one.
    #[error("the recipe cannot be read")]
    Syntax(#[from] toml::de::Error),
    /// Its name would not do as a directory's and a snapshot's name.
    #[error("{0:?} is no name for an image: [a-z0-9][a-z0-9._-]{{0,62}}")]
    Name(String),
    /// A package or module name has characters that none has.
    #[error("{0:?} is no name of a package or module")]
    Word(String),
}

/// A checked recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The image's name.
    pub name: String,
    /// The kernel's package.
    pub kernel: String,
    /// Packages beside Debian's minimal system.
    pub packages: Vec<String>,
    /// Kernel modules for the initramfs; what they need comes with them.
    pub modules: Vec<String>,
    /// Size of the writable disk.
    pub scratch_mib: u64,
    /// Programs with their arguments that are run, one after the other, before a snapshot is
    /// taken, so that what they read is in memory.
    pub warm_up: Vec<Vec<String>>,
    /// What a machine gets when nobody says otherwise.
    pub defaults: Defaults,
}

/// What a machine gets when nobody says otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Kernel command line.
    pub cmdline: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_mib: u64,
    /// Who runs programs.
    pub user: String,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let recipe: Self = toml::from_str(text)?;
        if !is_name(&recipe.name) {
            return Err(Error::Name(recipe.name));
        }
        let bad = recipe.words().find(|word| !is_word(word)).cloned();
        match bad {
            Some(word) => Err(Error::Word(word)),
            None => Ok(recipe),
        }
    }

    /// All names of packages and modules.
    fn words(&self) -> impl Iterator<Item = &String> {
        self.packages
            .iter()
            .chain(&self.modules)
            .chain([&self.kernel])
    }
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    name.len() <= NAME_LIMIT
        && name.bytes().all(inner)
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}

fn is_word(word: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".+_-".contains(&byte);
    !word.is_empty() && !word.starts_with('-') && word.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_recipe_is_good() {
        let recipe = Recipe::parse(DEFAULT).unwrap();
        assert_eq!(recipe.name, "default");
    }

    #[test]
    fn names_that_reach_elsewhere_are_refused() {
        for name in ["", "../up", ".hidden", "Upper", "a/b"] {
            let text = DEFAULT.replace("name = \"default\"", &format!("name = {name:?}"));
            assert!(
                matches!(Recipe::parse(&text), Err(Error::Name(_))),
                "{name}"
            );
        }
        let text = DEFAULT.replace("\"bash\"", "\"bash; true\"");
        assert!(matches!(Recipe::parse(&text), Err(Error::Word(_))));
    }
}

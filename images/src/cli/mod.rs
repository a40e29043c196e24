//! One module per command.

pub mod build;
mod client;
pub mod snapshot;
pub mod verify;

#[cfg(test)]
mod tests {
    use images::recipe::{DEFAULT, Recipe};

    #[test]
    fn the_default_recipe_boots_as_the_vmm_recommends() {
        let recipe = Recipe::parse(DEFAULT).unwrap();
        assert_eq!(
            recipe.defaults.cmdline,
            protocol::RECOMMENDED_KERNEL_CMDLINE
        );
    }
}

//! Which kernel modules a name stands for, and what must be loaded before it.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

/// A module that cannot be found.
#[derive(Debug, Error)]
#[error("the kernel has no module {0}")]
pub struct NoSuchModule(pub String);

/// `modules.dep` and `modules.builtin` of one kernel, as `depmod` writes them.
#[derive(Debug, Default)]
pub struct Modules {
    /// Module name to its path below `/lib/modules/RELEASE` and the paths of what it needs,
    /// nearest need first.
    loadable: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads the text of `modules.dep` (`path: needed needed …`) and of `modules.builtin` (a path a line).
    pub fn parse(dep: &str, builtin: &str) -> Self {
        let loadable = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                (module_name(path), (path.to_owned(), needs))
            })
            .collect();
        let builtin = builtin.lines().map(module_name).collect();
        Self { loadable, builtin }
    }

    /// Paths of `names` and of all they need, each once, in an order in which they can be
    /// loaded. Names that are built into the kernel have no path.
    ///
    /// # Errors
    /// [`NoSuchModule`] for a name that is neither loadable nor built in.
    pub fn load_order<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<String>, NoSuchModule> {
        let mut order: Vec<String> = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            let Some((path, needs)) = self.loadable.get(&name) else {
                if self.builtin.contains(&name) {
                    continue;
                }
                return Err(NoSuchModule(name));
            };
            for path in needs.iter().rev().chain([path]) {
                if !order.contains(path) {
                    order.push(path.clone());
                }
            }
        }
        Ok(order)
    }

    /// The lines of `modules.dep` for the modules at `paths`.
    pub fn dep_lines(&self, paths: &[String]) -> String {
        paths
            .iter()
            .filter_map(|path| self.loadable.get(&module_name(path)))
            .map(|(path, needs)| format!("{path}: {}\n", needs.join(" ")))
            .collect()
    }
}

/// `kernel/drivers/virtio/virtio-rng.ko` is module `virtio_rng`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/virtio.ko:\n\
        kernel/virtio_ring.ko: kernel/virtio.ko\n\
        kernel/virtio-rng.ko: kernel/virtio_ring.ko kernel/virtio.ko\n";

    #[test]
    fn needs_come_first_and_once() {
        let modules = Modules::parse(DEP, "kernel/fs/ext4/ext4.ko\n");
        let order = modules
            .load_order(["virtio_rng", "ext4", "virtio_ring"])
            .unwrap();
        assert_eq!(
            order,
            [
                "kernel/virtio.ko",
                "kernel/virtio_ring.ko",
                "kernel/virtio-rng.ko"
            ]
        );
        assert_eq!(modules.dep_lines(&order).lines().count(), 3);
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(Modules::parse(DEP, "").load_order(["ext4"]).is_err());
    }
}

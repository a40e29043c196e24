//! Who runs where.

use anyhow::ensure;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores of the three sides; none where the kernel decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    /// The client's.
    pub client: Option<usize>,
    /// Of whichever proxy is measured.
    pub proxy: Option<usize>,
    /// The upstream's: the client's, unless there is a third.
    pub upstream: Option<usize>,
}

impl Cores {
    /// Chooses among the cores that this process may use.
    pub fn choose() -> tests::Result<Self> {
        let ours = sched_getaffinity(Pid::this())?;
        let cores: Vec<usize> = (0..CpuSet::count())
            .filter(|core| ours.is_set(*core).unwrap_or(false))
            .collect();
        ensure!(cores.len() >= 2, "the bench needs two cores");
        let core = |index: usize| cores.get(index).copied();
        Ok(Self {
            client: core(0),
            proxy: core(1),
            upstream: core(2).or(core(0)),
        })
    }

    /// In words, for the table.
    pub fn describe(&self) -> &'static str {
        match (self.client, self.upstream) {
            (None, _) => "everything on whichever core",
            (client, upstream) if client == upstream => {
                "the proxy on one core, client and upstream on another"
            }
            _ => "proxy, client and upstream on a core each",
        }
    }
}

/// Keeps this process on one core.
pub fn stay(core: Option<usize>) -> tests::Result {
    let Some(core) = core else {
        return Ok(());
    };
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::this(), &set)?)
}

//! A vmm that runs no machine: it answers `thaw.vmm.v1` on descriptor 3 and serves an agent where a guest's would be.
//!
//! hostd starts it through a script that executes this very test binary with one ignored test. What it does wrong is
//! written on its kernel command line, as `fake=WORD`, and is saved with it.

pub mod agent;
pub mod guest;
pub mod ports;
pub mod vmm;

/// Ways of misbehaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Connections to the agent's port are closed.
    NoAgent,
    /// They are accepted, and nothing more.
    Silent,
    /// They are answered with something else than HTTP/2.
    Garbage,
    /// They are answered with bytes without end.
    Endless,
    /// The first of them are accepted and reset.
    ResetsFirst,
    /// Hello is answered with megabytes.
    BigHello,
    /// Enter is answered with another epoch.
    WrongEpoch,
    /// Enter never comes back.
    EnterHangs,
    /// Freeze is answered with BUSY a few times.
    FreezeBusy,
    /// Freeze fails.
    FreezeFails,
    /// Freeze takes a while.
    FreezeSlow,
    /// Freeze fails, as it looks, and freezes all the same a little later.
    FreezeLate,
    /// The vmm does not stop its vCPUs.
    PauseFails,
    /// Save fails.
    SaveFails,
    /// The process dies at Boot.
    DiesAtBoot,
    /// The process answers Boot with bytes that are no message.
    BadReply,
    /// The kernel panics a little after the barrier.
    Panics,
    /// PID 1 says why and resets the machine a little after the barrier.
    Resets,
    /// The guest powers itself off a little after the barrier.
    PowersOff,
    /// The process closes its socket a little after the barrier, and lives on.
    CutsOff,
    /// The process ignores that hostd is gone.
    Lingers,
    /// Nobody listens on any port.
    NobodyListens,
    /// No name leads anywhere.
    NothingExposed,
}

const WORDS: &[(&str, Trouble)] = &[
    ("no-agent", Trouble::NoAgent),
    ("nobody-listens", Trouble::NobodyListens),
    ("nothing-exposed", Trouble::NothingExposed),
    ("silent", Trouble::Silent),
    ("garbage", Trouble::Garbage),
    ("endless", Trouble::Endless),
    ("resets-first", Trouble::ResetsFirst),
    ("big-hello", Trouble::BigHello),
    ("wrong-epoch", Trouble::WrongEpoch),
    ("enter-hangs", Trouble::EnterHangs),
    ("freeze-busy", Trouble::FreezeBusy),
    ("freeze-fails", Trouble::FreezeFails),
    ("freeze-slow", Trouble::FreezeSlow),
    ("freeze-late", Trouble::FreezeLate),
    ("pause-fails", Trouble::PauseFails),
    ("save-fails", Trouble::SaveFails),
    ("dies-at-boot", Trouble::DiesAtBoot),
    ("bad-reply", Trouble::BadReply),
    ("panics", Trouble::Panics),
    ("resets", Trouble::Resets),
    ("powers-off", Trouble::PowersOff),
    ("cuts-off", Trouble::CutsOff),
    ("lingers", Trouble::Lingers),
];

impl Trouble {
    /// What the command line asks for.
    pub fn of(cmdline: &str) -> Self {
        let word = cmdline
            .split(' ')
            .find_map(|word| word.strip_prefix("fake="));
        word.map_or(Self::None, |word| {
            WORDS.iter().find(|(name, _)| *name == word).unwrap().1
        })
    }
}

/// Not a test: the entry of the fake vmm's process.
#[test]
#[ignore = "executed by hostd in place of a vmm"]
fn be_a_vmm() {
    if std::env::var_os(hostd::vmm::MARKER).is_some() {
        vmm::run();
    }
}

//! The harness of Thaw's end-to-end tests.
//!
//! A test binary is a list of `async fn(Arc<Host>) -> Result<()>` given to [`suite!`]. They
//! share one private `hostd`, started for the first of them and stopped after the last, when
//! nothing of it may be left. What they run against is found by [`products`]:
//!
//! | variable | what | default |
//! |---|---|---|
//! | `THAW_BIN` | directory with `hostd`, `vmm`, `thaw`, `fake-agent` | two levels above the test binary |
//! | `THAW_IMAGES` | directory of images | `/var/lib/thaw/images` |
//! | `THAW_SNAPSHOTS` | read-only store with the snapshot `default` | `/var/lib/thaw/snapshots` |
//! | `THAW_CLIENT_IMAGES` | directory of the image `clients` | unset: its tests are skipped |
//! | `THAW_MUST_RUN` | `1`: a test that cannot run has failed | unset: it is skipped and says why |
//!
//! Tests time nothing but what is promised: deadlines are for what would hang.

pub mod bench;
pub mod bypass;
pub mod client;
pub mod host;
pub mod measure;
pub mod process;
pub mod procfs;
pub mod products;
pub mod refusal;
pub mod sandbox;
pub mod scan;
pub mod stage;
pub mod suite;
pub mod thaw;
pub mod variants;
pub mod world;

pub use client::Clients;
pub use host::Host;
pub use sandbox::Sandbox;

/// What a test answers.
pub type Result<T = (), E = anyhow::Error> = std::result::Result<T, E>;

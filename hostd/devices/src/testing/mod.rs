//! What unit tests and fuzz targets share: the kernel's and the driver's side of a device.
//!
//! (`virtio_queue::mock` is not used for the rings: its used ring overlaps its available ring,
//! and it does not wrap.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod driver;
mod kernel;
mod ring;

pub use driver::{BAR, BORDER, DATA, Driver, END};
pub use kernel::{Notifications, Routes};
pub use ring::{Buffer, read, write};

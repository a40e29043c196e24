//! What holds for every device: save, change, restore, compare.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use super::balloon::{Balloon, MemoryReclaim};
use super::block::{Block, FileBackend};
use super::net::{Net, NetControl, NetLimits, Tap};
use super::rng::Rng;
use super::transport::VirtioPciState;
use super::vsock::Vsock;
use super::{VirtioDevice, transport::status};
use crate::pci::{FunctionState, PciFunction, SavedFunction, Slot};
use crate::testing::{Driver, write};

struct NoReclaim;

impl MemoryReclaim for NoReclaim {
    fn discard(&self, _: vm_memory::GuestAddress, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

fn block() -> Block {
    let file = tempfile::tempfile().unwrap();
    file.set_len(64 * 512).unwrap();
    Block::new(Box::new(FileBackend::new(file, false).unwrap()), "")
}

fn vsock() -> Vsock {
    let dir = tempfile::tempdir().unwrap();
    Vsock::new(3, UnixListener::bind(dir.path().join("v")).unwrap(), None).unwrap()
}

fn balloon() -> Balloon {
    Balloon::new(Arc::new(NoReclaim))
}

/// Takes a state through the bytes that a snapshot holds.
fn through_bytes(state: VirtioPciState) -> VirtioPciState {
    let saved = SavedFunction {
        slot: Slot(1),
        state: FunctionState::Virtio(state),
    };
    let bytes = postcard::to_stdvec(&saved).unwrap();
    match postcard::from_bytes::<SavedFunction>(&bytes).unwrap().state {
        FunctionState::Virtio(state) => state,
        other => panic!("{other:?}"),
    }
}

/// A device that is saved and started again is the same, and neither half of a life before and
/// after matters to the other.
fn survives<D: VirtioDevice>(make: fn() -> D) {
    let mut driver = Driver::new(make());
    for stage in ["new", "started", "used"] {
        let state = through_bytes(driver.save());
        let mut again = Driver::restored(make(), &driver, &state).unwrap();
        assert_eq!(again.save(), state, "{stage}");

        // Changing the copy does not reach the state, and a second copy is like the first.
        again.put8(0x14, 0);
        again.function.config_write(0x04, &[0, 0]);
        assert_ne!(again.save(), state, "{stage}");
        let third = Driver::restored(make(), &driver, &state).unwrap();
        assert_eq!(third.save(), state, "{stage}");

        if stage == "new" {
            driver.start();
        } else {
            driver.send(0, &[write(0x10_0000, 64)]);
        }
    }
}

/// A restored device goes on with the rings where they were.
fn goes_on<D: VirtioDevice>(make: fn() -> D) {
    let mut driver = Driver::started(make());
    driver.offer(0, &[write(0x10_0000, 64)]);
    let state = through_bytes(driver.save());
    let mut again = Driver::restored(make(), &driver, &state).unwrap();
    let routed = again.routes.routed().len();
    assert_eq!(routed, driver.function.device().queue_sizes().len() + 1);
    crate::event_loop::EventHandler::resume(&mut again.function);
    again.run();
    assert_eq!(again.used(0).len(), 1);
    assert_eq!(again.status() & status::NEEDS_RESET, 0);
}

/// A device takes no other device's state.
fn refuses<D: VirtioDevice>(make: fn() -> D, strangers: &[VirtioPciState]) {
    let driver = Driver::started(make());
    let own = driver.save();
    for stranger in strangers {
        let taken = Driver::restored(make(), &driver, stranger).is_ok();
        assert_eq!(taken, *stranger == own);
    }
}

macro_rules! every_device {
    ($($name:ident),*) => {
        $(mod $name {
            #[test]
            fn survives() {
                super::survives(super::$name);
            }

            #[test]
            fn refuses_other_devices() {
                super::refuses(super::$name, &super::all_states());
            }
        })*

        fn all_states() -> Vec<VirtioPciState> {
            vec![$(Driver::started($name()).save()),*]
        }
    };
}

fn rng() -> Rng {
    Rng::new()
}

fn net() -> Net {
    let control = Arc::new(NetControl::new(false, NetLimits::default()).unwrap());
    let (tap, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
    tap.set_nonblocking(true).unwrap();
    let tap = Tap::unchecked(tap.into()).unwrap();
    Net::new([2, 0, 0, 0, 0, 1], tap, control).unwrap()
}

every_device!(balloon, block, net, rng, vsock);

#[test]
fn devices_that_answer_at_once_go_on_after_a_restore() {
    goes_on(balloon);
    goes_on(block);
    goes_on(rng);
}

#[test]
fn another_disk_or_address_is_refused() {
    let driver = Driver::started(block());
    let state = driver.save();
    let file = tempfile::tempfile().unwrap();
    file.set_len(65 * 512).unwrap();
    let longer = Block::new(Box::new(FileBackend::new(file, false).unwrap()), "");
    assert!(Driver::restored(longer, &driver, &state).is_err());

    let driver = Driver::started(vsock());
    let state = driver.save();
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("v")).unwrap();
    let moved = Vsock::new(4, listener, None).unwrap();
    assert!(Driver::restored(moved, &driver, &state).is_err());
}

//! Doing one thing with less than root's powers, before they are given up for good.
#![expect(unsafe_code, reason = "capget and capset have no safe wrapper")]

use std::io;

use nix::errno::Errno;

/// `CAP_SYS_ADMIN`, a bit of the first word.
const SYS_ADMIN: u32 = 1 << 21;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of each set.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`; process 0 is the calling thread.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

const HEADER: Header = Header {
    version: VERSION,
    pid: 0,
};

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const _: () = assert!(size_of::<[Word; 2]>() == 24);

/// Calls `action` in this thread as somebody who does not have `CAP_SYS_ADMIN`, and takes it back.
///
/// # Errors
///
/// When the kernel refuses; the capability may then be gone.
pub fn without_sys_admin<T>(action: impl FnOnce() -> T) -> io::Result<T> {
    let ours = get()?;
    let [low, high] = ours;
    let effective = low.effective & !SYS_ADMIN;
    set(&[Word { effective, ..low }, high])?;
    let result = action();
    set(&ours)?;
    Ok(result)
}

fn get() -> io::Result<[Word; 2]> {
    let mut header = HEADER;
    let mut words = [Word::default(); 2];
    // SAFETY: both live through the call and have the layout that this version asks for.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut words) };
    Errno::result(got)?;
    Ok(words)
}

fn set(words: &[Word; 2]) -> io::Result<()> {
    let mut header = HEADER;
    // SAFETY: as above; the words are only read.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, &raw const *words) };
    Errno::result(set)?;
    Ok(())
}

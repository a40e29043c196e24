//! The guest's serial console: a pipe that is always drained, and the end of what came through it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::record::CONSOLE_TAIL_BYTES;

/// What is kept of a console, in bytes.
const RING_BYTES: usize = 64 << 10;
/// What is repeated of a guest's last words, in characters: an error travels in a header.
const MAX_WORDS: usize = 256;
/// After the vmm is gone, what is still in the pipe is read within this.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The reading end. Dropping it stops the reading.
#[derive(Debug)]
pub struct Console {
    ring: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
}

impl Console {
    /// A console, and the descriptor that the vmm writes to.
    pub fn open() -> io::Result<(Self, OwnedFd)> {
        let (sender, receiver) = pipe::pipe()?;
        let ring = Arc::new(Mutex::new(VecDeque::new()));
        let reader = tokio::spawn(drain(receiver, ring.clone()));
        // Nonblocking: a guest that writes faster than we read loses output, never time.
        Ok((Self { ring, reader }, sender.into_nonblocking_fd()?))
    }

    /// The last output, once the vmm is gone and its end of the pipe closed.
    pub async fn last_output(mut self) -> String {
        let _ = tokio::time::timeout(LAST_OUTPUT, &mut self.reader).await;
        tail(&self.ring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn drain(mut pipe: pipe::Receiver, ring: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.extend(buffer.iter().take(read));
        let excess = ring.len().saturating_sub(RING_BYTES);
        ring.drain(..excess);
    }
}

/// The end of the ring as text of at most [`CONSOLE_TAIL_BYTES`]; what is not UTF-8 is replaced, which makes it longer.
fn tail(ring: &VecDeque<u8>) -> String {
    let skip = ring.len().saturating_sub(CONSOLE_TAIL_BYTES);
    let bytes: Vec<u8> = ring.iter().skip(skip).copied().collect();
    let text = String::from_utf8_lossy(&bytes);
    let start = text.len().saturating_sub(CONSOLE_TAIL_BYTES);
    let boundary = (start..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    text.get(boundary..).unwrap_or_default().to_owned()
}

/// Why the guest ended itself, in its own words: the kernel's when it panicked, or else those that its PID 1 says before it
/// resets the machine. They may be any words, so they are escaped and cut.
pub fn last_words(console: &str) -> Option<String> {
    let panic = console.rfind("Kernel panic");
    let words = match panic {
        Some(at) => console.get(at..)?.lines().next(),
        None => console
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("thaw: ")),
    };
    let escaped = words?.trim().chars().flat_map(|c| match c.is_control() {
        true => c.escape_default().collect::<Vec<_>>(),
        false => vec![c],
    });
    Some(escaped.take(MAX_WORDS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn only_the_end_is_kept() {
        let (console, fd) = Console::open().unwrap();
        let mut writer = std::fs::File::from(fd);
        for line in 0..20_000 {
            // A full pipe drops output: retry, so that the test knows what came through.
            while writer
                .write_all(format!("line {line:05}\n").as_bytes())
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        drop(writer);
        let output = console.last_output().await;
        assert!(output.ends_with("line 19999\n"));
        assert_eq!(output.len(), CONSOLE_TAIL_BYTES);
    }

    #[test]
    fn binary_noise_does_not_grow_the_tail() {
        let noise = VecDeque::from(vec![0xff; RING_BYTES]);
        assert!(tail(&noise).len() <= CONSOLE_TAIL_BYTES);
    }

    #[test]
    fn last_words_are_found() {
        for (console, words) in [
            (
                "thaw: a\n[ 1.0] Kernel panic - not syncing: x\r\n---",
                Some("Kernel panic - not syncing: x"),
            ),
            (
                "thaw: a\r\nthaw: the agent ended: killed\r\n[ 1.0] reboot",
                Some("the agent ended: killed"),
            ),
            ("thaw: a\nsaid thaw: b\n", Some("a")),
            ("thaw: \u{1b}[2Jc\n", Some("\\u{1b}[2Jc")),
            ("all well", None),
        ] {
            assert_eq!(last_words(console).as_deref(), words, "{console:?}");
        }
        let long = format!("thaw: {}", "\u{1b}".repeat(10_000));
        assert_eq!(last_words(&long).unwrap().chars().count(), MAX_WORDS);
    }
}

//! Sandboxes as machines: restored, cloned, saved.

use anyhow::{Result, ensure};

use super::{thaw::Thaw, title};

/// Counts in memory, and notes where it is. It goes on when its machine is restored.
const COUNTER: &str = "import os, time
n = 0
while True:
    n += 1
    open('/tmp/new', 'w').write(str(n))
    os.replace('/tmp/new', '/tmp/count')
    time.sleep(0.05)";

/// A program that needs more than arithmetic.
const PROGRAM: &str = "import json, platform, hashlib
print(json.dumps({'python': platform.python_version(), 'kernel': platform.release(),
                  'sha256': hashlib.sha256(b'thaw').hexdigest()[:16]}))";

/// Shows it.
///
/// # Errors
/// When anything does not go as it should.
pub fn show(thaw: &Thaw) -> Result<()> {
    title("one sandbox, one program: restored from a snapshot, run, killed");
    thaw.shown(&["run", "--", "uname", "-a"])?;
    thaw.shown(&["run", "--", "python3", "-c", PROGRAM])?;

    title("two clones of one snapshot are two machines");
    let draw = "import os, uuid; print(uuid.uuid4(), os.urandom(8).hex())";
    let first = thaw.shown(&["run", "--", "python3", "-c", draw])?;
    let second = thaw.shown(&["run", "--", "python3", "-c", draw])?;
    ensure!(first != second, "both clones drew the same random bytes");

    title("a program goes on where its snapshot was taken");
    let origin = thaw.create("default")?;
    let start = format!("nohup python3 -c \"{COUNTER}\" >/dev/null 2>&1 &");
    thaw.shown(&["exec", &origin, "sh", "-c", &start])?;
    let counting = "until [ -e /tmp/count ]; do sleep 0.1; done; sleep 1";
    thaw.quiet(&["exec", "--timeout", "60s", &origin, "sh", "-c", counting])?;
    let before = thaw.count(&origin)?;
    thaw.shown(&["snapshot", "create", &origin, "--name", "demo-counting"])?;
    thaw.quiet(&["kill", &origin])?;
    let clones = [thaw.create("demo-counting")?, thaw.create("demo-counting")?];
    for clone in &clones {
        let after = thaw.count(clone)?;
        println!("  counted to {before} before the snapshot, to {after} in clone {clone}");
        ensure!(after >= before, "the counter started again");
    }

    title("and what one clone writes, the other does not see");
    thaw.shown(&[
        "exec",
        &clones[0],
        "sh",
        "-c",
        "echo mine >/root/note; cat /root/note",
    ])?;
    let looked = thaw.shown(&[
        "exec",
        &clones[1],
        "sh",
        "-c",
        "cat /root/note 2>&1 || true",
    ])?;
    ensure!(!looked.contains("mine"), "the clones share a disk");
    thaw.shown(&["ps"])?;
    for clone in &clones {
        thaw.quiet(&["kill", clone])?;
    }
    Ok(())
}

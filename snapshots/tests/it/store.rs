//! The store: what appears, what disappears, and what damage does.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use snapshots::disk::LayeredDisk;
use snapshots::memory::{WriteOptions, write_memory};
use snapshots::state::{read_state, write_state};
use snapshots::store::{Naming, Pending, Snapshot, Store, StoreError};
use snapshots::{SnapshotId, SnapshotName};

use crate::support::{DISK_BYTES, MEMORY_BYTES, Vector, description, id};

fn naming(name: &str, replace: bool) -> Naming {
    Naming {
        name: SnapshotName::new(name).unwrap(),
        replace,
    }
}

/// Fills a pending snapshot as a vmm would.
fn fill(pending: &Pending) {
    let mut memory = vec![0; MEMORY_BYTES as usize];
    memory[70_000..70_006].copy_from_slice(b"memory");
    write_memory(
        &pending.memory().unwrap(),
        &Vector(memory),
        &WriteOptions::default(),
    )
    .unwrap();
    write_state(&pending.state().unwrap(), b"state").unwrap();
    let base = tempfile::tempfile().unwrap();
    base.set_len(DISK_BYTES).unwrap();
    let disk = LayeredDisk::open(base, None, tempfile::tempfile().unwrap()).unwrap();
    disk.write_at(9000, b"disk").unwrap();
    let layer = pending.layer(1).unwrap();
    disk.save_layer(&layer.data, &layer.bitmap).unwrap();
}

fn add(store: &Store, n: u32, name: Option<&str>) -> Snapshot {
    let pending = store.begin(id(n)).unwrap();
    fill(&pending);
    let naming = name.map(|name| naming(name, false));
    pending
        .commit(description(n.into()), naming.as_ref())
        .unwrap()
}

fn open(path: &Path) -> Store {
    Store::open(path, &[]).unwrap()
}

fn entries(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn listed(store: &Store) -> Vec<(SnapshotId, Option<String>)> {
    let listing = store.list().unwrap();
    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
    let name = |name: SnapshotName| name.to_string();
    listing
        .entries
        .into_iter()
        .map(|entry| (entry.manifest.id, entry.name.map(name)))
        .collect()
}

#[test]
fn a_snapshot_comes_back_by_id_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/store");
    let store = open(&path);
    add(&store, 1, Some("default"));
    for key in ["default", id(1).as_str()] {
        let found = store.find(key).unwrap();
        assert_eq!(found.id(), &id(1));
        assert_eq!(found.name().map(SnapshotName::as_str), Some("default"));
        assert_eq!(found.manifest().description, description(1));
        assert!(!found.read_only());
        let memory = found.memory().unwrap();
        let mut buf = vec![0; memory.chunk_bytes()];
        memory.chunks().unwrap().read(1, &mut buf).unwrap();
        assert_eq!(&buf[70_000 - 65_536..][..6], b"memory");
        assert_eq!(read_state(&found.state().unwrap()).unwrap(), b"state");
        let mut buf = [0; 4];
        found
            .layer(1)
            .unwrap()
            .data
            .read_exact_at(&mut buf, 9000)
            .unwrap();
        assert_eq!(&buf, b"disk");
        assert!(matches!(
            found.layer(0),
            Err(StoreError::NoLayer { disk: 0, .. })
        ));
        found.verify().unwrap();
    }
    assert_eq!(entries(&path), [".lock", "names", id(1).as_str()]);
}

#[test]
fn unknown_and_impossible_keys_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for key in [
        "",
        "nobody",
        id(1).as_str(),
        "../x",
        "names",
        ".lock",
        "\0",
        &"x".repeat(9999),
    ] {
        assert!(
            matches!(store.find(key), Err(StoreError::NotFound(_))),
            "{key}"
        );
    }
    assert!(matches!(store.delete(&id(1)), Err(StoreError::NotFound(_))));
    assert!(matches!(
        store.clear_name(&id(1)),
        Err(StoreError::NotFound(_))
    ));
}

#[test]
fn names_are_unique_and_move() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, Some("a"));
    add(&store, 2, None);
    let taken = store.set_name(&id(2), &naming("a", false));
    assert!(matches!(taken, Err(StoreError::NameTaken { holder, .. }) if holder == id(1)));
    store.set_name(&id(1), &naming("a", false)).unwrap();

    store.set_name(&id(2), &naming("a", true)).unwrap();
    assert_eq!(listed(&store), [(id(2), Some("a".into())), (id(1), None)]);
    store.set_name(&id(2), &naming("b", false)).unwrap();
    assert!(matches!(store.find("a"), Err(StoreError::NotFound(_))));
    assert_eq!(store.find("b").unwrap().id(), &id(2));
    store.clear_name(&id(2)).unwrap();
    store.clear_name(&id(2)).unwrap();
    assert_eq!(listed(&store), [(id(2), None), (id(1), None)]);
}

#[test]
fn a_commit_under_a_taken_name_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, Some("a"));
    let pending = store.begin(id(2)).unwrap();
    fill(&pending);
    let result = pending.commit(description(2), Some(&naming("a", false)));
    assert!(matches!(result, Err(StoreError::NameTaken { .. })));
    assert_eq!(entries(dir.path()), [".lock", "names", id(1).as_str()]);

    let pending = store.begin(id(2)).unwrap();
    fill(&pending);
    pending
        .commit(description(2), Some(&naming("a", true)))
        .unwrap();
    assert_eq!(store.find("a").unwrap().id(), &id(2));
}

#[test]
fn an_id_is_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, None);
    assert!(matches!(store.begin(id(1)), Err(StoreError::Exists(_))));
    let _pending = store.begin(id(2)).unwrap();
    assert!(matches!(store.begin(id(2)), Err(StoreError::Exists(_))));
}

#[test]
fn what_is_not_committed_disappears() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pending = store.begin(id(1)).unwrap();
    fill(&pending);
    assert!(listed(&store).is_empty());
    drop(pending);
    // Without a state there is nothing to commit.
    let pending = store.begin(id(1)).unwrap();
    assert!(matches!(
        pending.commit(description(1), None),
        Err(StoreError::Io { .. })
    ));
    assert_eq!(entries(dir.path()), [".lock", "names"]);
}

#[test]
fn a_commit_that_cannot_be_named_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pending = store.begin(id(1)).unwrap();
    fill(&pending);
    // Nothing can be renamed over a directory.
    fs::create_dir(dir.path().join("names/a")).unwrap();
    let result = pending.commit(description(1), Some(&naming("a", false)));
    assert!(matches!(result, Err(StoreError::Io { .. })), "{result:?}");
    assert_eq!(entries(dir.path()), [".lock", "names"]);
}

#[test]
fn files_of_another_machine_are_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pending = store.begin(id(1)).unwrap();
    fill(&pending);
    let mut other = description(1);
    other.machine.memory_bytes *= 2;
    let result = pending.commit(other, None);
    assert!(
        matches!(
            result,
            Err(StoreError::Machine {
                expected: 524_288,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn leftovers_of_a_crash_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, Some("kept"));
    drop(store);
    for leftover in [".tmp-x", ".del-y"] {
        fs::create_dir_all(dir.path().join(leftover).join("deep")).unwrap();
        fs::write(dir.path().join(leftover).join("memory"), "x").unwrap();
    }
    let names = dir.path().join("names");
    std::os::unix::fs::symlink(id(9).as_str(), names.join("dangling")).unwrap();
    std::os::unix::fs::symlink(id(9).as_str(), names.join(".new")).unwrap();
    fs::write(dir.path().join("README"), "not ours").unwrap();
    let store = open(dir.path());
    assert_eq!(listed(&store), [(id(1), Some("kept".into()))]);
    assert_eq!(
        entries(dir.path()),
        [".lock", "README", "names", id(1).as_str()]
    );
    assert_eq!(entries(&names), ["kept"]);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(
        Store::open(dir.path(), &[]),
        Err(StoreError::Locked(_))
    ));
    drop(store);
    open(dir.path());
}

#[test]
fn a_deleted_snapshot_serves_those_who_have_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let snapshot = add(&store, 1, Some("a"));
    store.delete(&id(1)).unwrap();
    assert!(matches!(store.find("a"), Err(StoreError::NotFound(_))));
    assert_eq!(entries(dir.path()), [".lock", "names"]);
    assert!(entries(&dir.path().join("names")).is_empty());
    snapshot.verify().unwrap();
}

#[test]
fn read_only_stores_are_looked_at_last_and_never_changed() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(theirs.path());
    add(&store, 1, Some("default"));
    add(&store, 2, Some("other"));
    drop(store);

    let missing = theirs.path().join("missing");
    assert!(matches!(
        Store::open(ours.path(), &[missing]),
        Err(StoreError::Io { .. })
    ));
    let store = Store::open(ours.path(), &[theirs.path().to_owned()]).unwrap();
    assert!(store.find("default").unwrap().read_only());
    assert!(matches!(store.delete(&id(1)), Err(StoreError::ReadOnly(_))));
    assert!(matches!(
        store.set_name(&id(1), &naming("x", true)),
        Err(StoreError::ReadOnly(_))
    ));
    assert!(matches!(store.begin(id(1)), Err(StoreError::Exists(_))));

    // A name of ours hides theirs.
    add(&store, 3, None);
    let taken = store.set_name(&id(3), &naming("default", false));
    assert!(matches!(taken, Err(StoreError::NameTaken { .. })));
    store.set_name(&id(3), &naming("default", true)).unwrap();
    assert_eq!(store.find("default").unwrap().id(), &id(3));
    assert_eq!(store.find(id(1).as_str()).unwrap().name(), None);
    assert_eq!(
        listed(&store),
        [
            (id(3), Some("default".into())),
            (id(2), Some("other".into())),
            (id(1), None)
        ]
    );
}

#[test]
fn a_damaged_snapshot_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, None);
    add(&store, 2, None);
    fs::write(dir.path().join(id(1).as_str()).join("manifest.json"), "{}").unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.entries.len(), 1);
    let [(damaged, StoreError::Manifest { .. })] = &listing.damaged[..] else {
        panic!("{:?}", listing.damaged);
    };
    assert_eq!(*damaged, id(1));
    store.delete(&id(1)).unwrap();
    assert_eq!(listed(&store), [(id(2), None)]);
}

#[test]
fn a_snapshot_under_another_id_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, None);
    let path = |n| dir.path().join(id(n).as_str());
    fs::rename(path(1), path(2)).unwrap();
    let result = store.find(id(2).as_str());
    assert!(matches!(result, Err(StoreError::OtherSnapshot { found, .. }) if found == id(1)));
}

/// Opening does not read the blocks of a layer, so this has to be asked for.
#[test]
fn a_damaged_block_of_a_layer_is_found_when_layers_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let snapshot = add(&store, 1, None);
    snapshot.verify_layers().unwrap();
    let layer = dir.path().join(id(1).as_str()).join("disk-1.layer");
    let layer = fs::OpenOptions::new().write(true).open(layer).unwrap();
    layer.write_all_at(b"x", 9000).unwrap();
    let again = store.find(id(1).as_str()).unwrap();
    let result = again.verify_layers();
    assert!(
        matches!(&result, Err(StoreError::Digest { file, .. }) if file == "disk-1.layer"),
        "{result:?}"
    );
}

/// Every file of a snapshot, cut, missing, or with flipped bits.
#[test]
fn damage_to_any_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 1, None);
    let check = |what: &str| {
        let result = store
            .find(id(1).as_str())
            .and_then(|snapshot| snapshot.verify());
        assert!(result.is_err(), "{what}");
    };
    let path = dir.path().join(id(1).as_str());
    for name in entries(&path) {
        let file_path = path.join(&name);
        let bytes = fs::read(&file_path).unwrap();
        // Only the block that is there counts in a layer's data.
        let (start, end) = if name.ends_with(".layer") {
            (8192, 12_288)
        } else {
            (0, bytes.len())
        };
        for position in (start..end).filter(|position| position % 41 == 0) {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << (position % 8);
            fs::write(&file_path, &flipped).unwrap();
            check(&format!("{name}: byte {position}"));
        }
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&file_path, &bytes[..len]).unwrap();
            check(&format!("{name}: cut to {len}"));
        }
        fs::remove_file(&file_path).unwrap();
        check(&format!("{name}: missing"));
        fs::create_dir(&file_path).unwrap();
        check(&format!("{name}: a directory"));
        fs::remove_dir(&file_path).unwrap();
        fs::write(&file_path, &bytes).unwrap();
    }
    store.find(id(1).as_str()).unwrap().verify().unwrap();
}

#[test]
fn memory_of_another_snapshot_is_found_without_reading_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, two) = (add(&store, 1, None), store.begin(id(2)).unwrap());
    fill(&two);
    drop(two);
    let mut other = vec![0; MEMORY_BYTES as usize];
    other[70_000..70_006].copy_from_slice(b"yromem");
    let path = dir.path().join(id(1).as_str()).join("memory");
    fs::remove_file(&path).unwrap();
    let file = fs::File::create(&path).unwrap();
    write_memory(&file, &Vector(other), &WriteOptions::default()).unwrap();
    one.memory().unwrap();
    let result = store
        .find(id(1).as_str())
        .and_then(|snapshot| snapshot.memory().map(drop));
    assert!(
        matches!(
            result,
            Err(StoreError::Digest { .. } | StoreError::Size { .. })
        ),
        "{result:?}"
    );
}

//! `manifest.json`.

use snapshots::manifest::{
    FORMAT_VERSION, FileRecord, Files, LayerRecord, MAX_MANIFEST_BYTES, Manifest, ManifestError,
    MemoryRecord,
};
use snapshots::{Digest, SnapshotId};

use crate::support::{description, each_flipped, id};

pub fn manifest() -> Manifest {
    let record = || FileRecord {
        size: 99,
        blake3: Digest::of(b""),
    };
    Manifest {
        format_version: FORMAT_VERSION,
        id: id(1),
        parent: None,
        description: description(1_700_000_000_000),
        files: Files {
            memory: MemoryRecord {
                size: 1000,
                fingerprint: Digest::of(b"m"),
            },
            state: record(),
            layers: vec![LayerRecord {
                disk: 1,
                bitmap: record(),
                stored_bytes: 24,
                blocks: Digest::of(b"b"),
            }],
        },
    }
}

/// The file that holds `content`, with the right digest.
pub fn sealed(content: &str) -> Vec<u8> {
    let digest = Digest::of(content.as_bytes());
    format!("{{\"blake3\":\"{digest}\",\"manifest\":{content}}}\n").into_bytes()
}

#[test]
fn comes_back_and_is_json() {
    let bytes = manifest().encode().unwrap();
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
    assert_eq!(manifest().stored_bytes(), 1024);
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["manifest"]["description"]["machine"]["vcpus"], 2);
}

#[test]
fn any_flipped_bit_is_found() {
    each_flipped(&manifest().encode().unwrap(), |position, bytes| {
        let found = Manifest::decode(bytes);
        assert!(
            matches!(found, Err(ManifestError::Envelope | ManifestError::Digest)),
            "byte {position}: {found:?}"
        );
    });
}

#[test]
fn cut_anywhere_it_is_refused() {
    let bytes = manifest().encode().unwrap();
    for len in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_later_version_is_named_whatever_else_it_has() {
    let bytes = sealed(r#"{"format_version": 3, "new": {"things": []}}"#);
    assert!(matches!(
        Manifest::decode(&bytes),
        Err(ManifestError::Version { found: 3 })
    ));
}

#[test]
fn unknown_fields_and_nonsense_are_refused() {
    let good = String::from_utf8(manifest().encode().unwrap()).unwrap();
    let (_, content) = good.split_once("\"manifest\":").unwrap();
    let content = content.strip_suffix("}\n").unwrap();
    assert!(Manifest::decode(&sealed(content)).is_ok());
    for (old, new) in [
        ("\"parent\"", "\"other\": 1, \"parent\""),
        ("\"vcpus\": 2", "\"vcpus\": -2"),
        (id(1).as_str(), "../../../../../etc/passwd0000"),
    ] {
        let changed = content.replacen(old, new, 1);
        let result = Manifest::decode(&sealed(&changed));
        assert!(
            matches!(result, Err(ManifestError::Json(_))),
            "{new}: {result:?}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(
        Manifest::decode(&sealed(&deep)),
        Err(ManifestError::Json(_))
    ));
    let long = " ".repeat(MAX_MANIFEST_BYTES + 1);
    assert!(matches!(
        Manifest::decode(long.as_bytes()),
        Err(ManifestError::TooLong { .. })
    ));
}

#[test]
fn values_that_cannot_be_are_neither_written_nor_read() {
    type Change = fn(&mut Manifest);
    let cases: &[(&str, Change)] = &[
        ("parent", |m| m.parent = Some(id(2))),
        ("labels", |m| {
            drop(m.description.labels.insert(String::new(), String::new()))
        }),
        ("labels", |m| {
            let many = (0..65).map(|n| (n.to_string(), String::new()));
            m.description.labels = many.collect();
        }),
        ("labels", |m| {
            drop(m.description.labels.insert("k".into(), "v".repeat(256)))
        }),
        ("sandbox_id", |m| m.description.sandbox_id = "a\nb".into()),
        ("vmm_version", |m| {
            m.description.vmm_version = "v".repeat(129)
        }),
        ("image.id", |m| m.description.image.id = "0A".repeat(32)),
        ("cpu.features", |m| m.description.cpu.features.reverse()),
        ("cpu.features", |m| {
            m.description.cpu.features = vec!["x".into(), "x".into()]
        }),
        ("machine.vcpus", |m| m.description.machine.vcpus = 0),
        ("machine.vcpus", |m| m.description.machine.vcpus = 9),
        ("machine.memory_bytes", |m| {
            m.description.machine.memory_bytes = 0
        }),
        ("machine.memory_bytes", |m| {
            m.description.machine.memory_bytes = 1 << 50
        }),
        ("machine.disks", |m| {
            m.description.machine.disks[1].bytes = u64::MAX
        }),
        ("files.layers", |m| m.files.layers.clear()),
        ("files.layers", |m| m.files.layers[0].disk = 0),
    ];
    for (expected, change) in cases {
        let mut changed = manifest();
        change(&mut changed);
        let content = serde_json::to_string(&changed).unwrap();
        for result in [
            changed.encode().map(drop),
            Manifest::decode(&sealed(&content)).map(drop),
        ] {
            match result {
                Err(ManifestError::Field { field, .. }) => assert_eq!(field, *expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_largest_manifest_fits() {
    let mut largest = manifest();
    let description = &mut largest.description;
    description.labels = (0..64)
        .map(|n| (format!("{n:063}"), "\u{1}".repeat(255)))
        .collect();
    description.cpu.features = (0..4096).map(|n| format!("{n:064}")).collect();
    assert_eq!(
        Manifest::decode(&largest.encode().unwrap()).unwrap(),
        largest
    );
}

#[test]
fn ids_in_it_are_checked() {
    assert!(serde_json::from_str::<SnapshotId>("\"..\"").is_err());
}

//! Images: a root as a tar, an archive of layers, a raw disk. Whatever they are, nothing is written beside the directory that was given.

use super::{Target, roots::scratch};
use fother_host::image;
use std::{fs, path::Path};

pub const ALL: &[Target] = &[
    Target { name: "image-tar", run: unpack, seeds: tar_seeds },
    Target { name: "image-layers", run: unpack, seeds: layer_seeds },
    Target { name: "image-disk", run: unpack, seeds: disk_seeds },
];

fn tar(members: &[(&str, tar::EntryType, &[u8], &str)]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, kind, bytes, target) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        out.append(&header, *bytes).expect("memory is writable");
    }
    out.into_inner().expect("memory is writable")
}

fn root() -> Vec<u8> {
    use tar::EntryType;
    tar(&[
        ("lib", EntryType::Symlink, b"", "usr/lib"),
        ("etc/os-release", EntryType::Regular, b"ID=debian\n", ""),
        ("var/lib/dpkg/status", EntryType::Regular, b"Package: a\n", ""),
        ("var/lib/dpkg/arch", EntryType::Link, b"", "var/lib/dpkg/status"),
        ("var/lib/.wh.apt", EntryType::Regular, b"", ""),
        ("usr/bin/tool", EntryType::Regular, b"\x7fELF", ""),
    ])
}

fn tar_seeds() -> Vec<Vec<u8>> {
    vec![root()]
}

fn layer_seeds() -> Vec<Vec<u8>> {
    use tar::EntryType;
    let layer = root();
    let plain = fother_core::Digest::of_file(&layer);
    let config = format!("{{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{{\"diff_ids\":[\"{plain}\"]}}}}");
    let id = fother_core::Digest::of_file(config.as_bytes());
    let manifest = r#"[{"Config":"config.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]}]"#;
    let saved = tar(&[
        ("config.json", EntryType::Regular, config.as_bytes(), ""),
        ("l/layer.tar", EntryType::Symlink, b"", "../m/layer.tar"),
        ("m/layer.tar", EntryType::Regular, &layer, ""),
        ("manifest.json", EntryType::Regular, manifest.as_bytes(), ""),
    ]);
    let own = format!("{{\"config\":{{\"digest\":\"{id}\"}},\"layers\":[{{\"digest\":\"{plain}\"}}]}}");
    let index = format!("{{\"manifests\":[{{\"digest\":\"{}\"}}]}}", fother_core::Digest::of_file(own.as_bytes()));
    let blob = |digest: fother_core::Digest| format!("blobs/sha256/{}", digest.hex());
    let names = [blob(id), blob(plain), blob(fother_core::Digest::of_file(own.as_bytes()))];
    let oci = tar(&[
        (&names[0], EntryType::Regular, config.as_bytes(), ""),
        (&names[1], EntryType::Regular, &layer, ""),
        (&names[2], EntryType::Regular, own.as_bytes(), ""),
        ("index.json", EntryType::Regular, index.as_bytes(), ""),
    ]);
    vec![saved, oci]
}

fn disk_seeds() -> Vec<Vec<u8>> {
    let mut mbr = vec![0_u8; 4096];
    mbr[450] = 0x83;
    mbr[454] = 1;
    mbr[458] = 7;
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    // The superblock of an ext4 that is too small to hold anything.
    let mut ext4 = vec![0_u8; 16 << 10];
    for (at, number) in [(0, 16_u32), (4, 15), (20, 1), (32, 8192), (40, 16), (76, 1), (84, 11), (88, 256), (96, 0x42)] {
        ext4[1024 + at..1028 + at].copy_from_slice(&number.to_le_bytes());
    }
    ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
    let mut gpt = mbr.clone();
    gpt[450] = 0xee;
    gpt[512..520].copy_from_slice(b"EFI PART");
    gpt[512 + 72] = 2;
    gpt[512 + 80] = 4;
    gpt[512 + 84] = 128;
    gpt[1024..1040].fill(3);
    gpt[1056] = 5;
    gpt[1064] = 7;
    vec![mbr, gpt, ext4]
}

/// Names below a directory, links not followed.
fn names(dir: &Path, depth: usize, out: &mut Vec<String>) {
    assert!(depth < 200, "deeper than any path in an image may be");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        out.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names(&entry.path(), depth + 1, out);
        }
    }
}

fn unpack(data: &[u8]) {
    let scratch = scratch();
    let image = scratch.write("image", data);
    let work = scratch.path().join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir(&work).expect("a directory can be made");
    if let Ok((about, root)) = image::unpack(&image, None, &work) {
        assert!(about.image.digest.starts_with("sha256:") && root.starts_with(&work));
        assert!(!data.is_empty(), "nothing passes for an image");
        let _ = fother_host::inventory::distribution(&fother_host::root::Root::open(&root).expect("it was made"));
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(scratch.path()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        assert!(
            name == "image" || name == "work" || name == "nuclei" || name == "feed" || name == "etc" || name == "var",
            "{name:?} was written outside"
        );
    }
    names(&work, 0, &mut all);
    let _ = fs::remove_dir_all(&work);
}

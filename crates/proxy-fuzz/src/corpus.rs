//! The files beside the fuzz targets: seeds, and inputs that have crashed once.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Target;

/// The folder `fuzz` of the workspace.
pub fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).join("fuzz")
}

/// The inputs that mutation starts from, in the order of their names.
pub fn seeds(target: Target) -> io::Result<Vec<Vec<u8>>> {
    Ok(files(&folder().join("seeds").join(target.name()))?.into_iter().map(|(_, data)| data).collect())
}

/// The inputs that a target must survive for good, with their names.
pub fn regressions(target: Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    files(&folder().join("regressions").join(target.name()))
}

fn files(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    found.sort();
    Ok(found)
}

/// Keeps an input that crashed, under the name of what is in it.
pub fn save_crash(target: Target, data: &[u8]) -> io::Result<PathBuf> {
    let folder = folder().join("crashes");
    std::fs::create_dir_all(&folder)?;
    let hash: String = Sha256::digest(data)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("{}-{hash}", target.name()));
    std::fs::write(&path, data)?;
    Ok(path)
}

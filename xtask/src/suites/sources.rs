//! The peers' sources: a directory that was given, or Debian's source package. They are kept in
//! the target folder and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::say;

/// The keys that Debian signs its packages with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The source's folder: `given`, or what Debian has for `package`; it must have the file `sign`.
pub(crate) fn find(given: Option<&Path>, package: &str, sign: &str, work: &Path) -> Result<PathBuf> {
    let folder = match given {
        Some(folder) => folder.canonicalize().with_context(|| format!("find {}", folder.display()))?,
        None => debian(package, sign, work)?,
    };
    ensure!(folder.join(sign).exists(), "{} has no {sign}: it is not {package}'s source", folder.display());
    Ok(folder)
}

/// Asks apt with a list of its own: the machine's lists and settings stay as they are.
fn debian(package: &str, sign: &str, work: &Path) -> Result<PathBuf> {
    let sources = work.join("sources");
    let folder = sources.join(package);
    if folder.join(sign).exists() {
        return Ok(folder);
    }
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let Some(name) = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")) else {
        bail!("this is no release of Debian: please give {package}'s source, see --help");
    };
    let apt = sources.join("apt");
    fs::create_dir_all(apt.join("lists/partial")).context("make a folder for apt")?;
    fs::create_dir_all(apt.join("cache/archives/partial")).context("make a folder for apt")?;
    let list = |site: &str, suite: &str| {
        format!("deb-src [signed-by={KEYRING}] http://deb.debian.org/{site} {suite} main\n")
    };
    let text = list("debian", name) + &list("debian-security", &format!("{name}-security"));
    fs::write(apt.join("sources.list"), text).context("write a list for apt")?;
    for args in [&["update"][..], &["source", "--download-only", "--tar-only", package]] {
        say(&format!("apt-get {}", args.join(" ")));
        let status = Command::new("apt-get")
            .args(options(&apt))
            .args(args)
            .current_dir(&sources)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .context("run apt-get")?;
        ensure!(
            status.success(),
            "apt-get {} did not work; see --help for giving the source",
            args.join(" ")
        );
    }
    let archive = fs::read_dir(&sources)?.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{package}_")) && name.contains(".orig.tar.") && !name.ends_with(".asc")
    });
    let archive = archive.with_context(|| format!("apt-get brought no archive of {package}"))?;
    fs::create_dir_all(&folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(&folder).arg("--strip-components=1");
    ensure!(tar.status().context("run tar")?.success(), "tar could not unpack {}", archive.display());
    Ok(folder)
}

fn options(apt: &Path) -> Vec<String> {
    let path = |name: &str| apt.join(name).display().to_string();
    [
        format!("Dir::Etc::sourcelist={}", path("sources.list")),
        "Dir::Etc::sourceparts=-".to_string(),
        format!("Dir::State::lists={}", path("lists")),
        format!("Dir::Cache={}", path("cache")),
        // The ordinary user that apt would become can not write here.
        "APT::Sandbox::User=root".to_string(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_string(), option])
    .collect()
}

/// A Python with these packages, in a virtual environment that is made once.
pub(crate) fn python(name: &str, requirements: &str, work: &Path) -> Result<PathBuf> {
    let folder = work.join(name);
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == requirements) {
        return Ok(python);
    }
    say(&format!("a Python environment in {}", folder.display()));
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    ensure!(
        made.context("run python3 (Debian package python3-venv)")?.success(),
        "python3 -m venv did not work: is the Debian package python3-venv installed?"
    );
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, requirements)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted);
    ensure!(pip.status().context("run pip")?.success(), "pip could not install {}", wanted.display());
    fs::rename(&wanted, &stamp)?;
    Ok(python)
}

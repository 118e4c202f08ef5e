//! Something that is made of files, and made again when they change.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::files::{Stamp, TlsError};

/// How long a look at the files lasts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The newest `T` that could be made of `files`.
#[derive(Debug)]
pub(super) struct Watched<T> {
    value: T,
    files: Vec<PathBuf>,
    /// What the files were like that it was made of.
    stamps: Vec<Option<Stamp>>,
    /// What they are like that nothing could be made of, and why. That may pass without a change of
    /// theirs: no descriptor was left, or a disk was away.
    failed: Option<(Vec<Option<Stamp>>, TlsError)>,
    looked: Instant,
}

/// What a look at the files came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing has changed, or it is too soon to look.
    None,
    /// They have changed, and so has the value.
    Changed,
    /// They have changed to something of no use: the value stays. They are tried again at every look,
    /// but it is said once for each change and reason.
    Broken(TlsError),
}

impl<T> Watched<T> {
    /// The first value; it has to succeed.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError>,
        now: Instant,
    ) -> Result<Watched<T>, TlsError> {
        // Before they are read: a change in between is seen as one, later.
        let stamps = stamps(&files);
        Ok(Watched { value: make()?, files, stamps, failed: None, looked: now })
    }

    /// Looks whether the files have changed, at most once a second.
    pub(super) fn refresh(&mut self, make: impl Fn() -> Result<T, TlsError>, now: Instant) -> News {
        if now.saturating_duration_since(self.looked) < LOOK_EVERY {
            return News::None;
        }
        self.looked = now;
        let stamps = stamps(&self.files);
        if stamps == self.stamps {
            self.failed = None;
            return News::None;
        }
        match make() {
            Ok(value) => {
                (self.value, self.stamps, self.failed) = (value, stamps, None);
                News::Changed
            }
            Err(error) => {
                let failed = Some((stamps, error.clone()));
                if failed == self.failed {
                    return News::None;
                }
                self.failed = failed;
                News::Broken(error)
            }
        }
    }

    pub(super) fn value(&self) -> &T {
        &self.value
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_is_taken_over_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("file");
        let make = || {
            let text = fs::read_to_string(&file).map_err(|error| TlsError::new("k", &file, error))?;
            text.parse::<u32>().map_err(|error| TlsError::new("k", &file, error))
        };
        let write = |text: &str| {
            // As a tool does that renews certificates: a new file in the place of the old one.
            fs::write(dir.path().join("new"), text).expect("a write");
            fs::rename(dir.path().join("new"), &file).expect("a rename");
        };
        let start = Instant::now();
        let second = |n: u64| start + LOOK_EVERY * n as u32;
        assert!(Watched::new(vec![file.clone()], make, start).is_err());
        write("1");
        let mut watched = Watched::new(vec![file.clone()], make, start).expect("a number");
        write("2");
        assert_eq!((watched.refresh(make, start), *watched.value()), (News::None, 1));
        assert_eq!((watched.refresh(make, second(1)), *watched.value()), (News::Changed, 2));
        assert_eq!(watched.refresh(make, second(2)), News::None);
        write("none");
        assert!(matches!(watched.refresh(make, second(3)), News::Broken(_)));
        assert_eq!((watched.refresh(make, second(4)), *watched.value()), (News::None, 2));
        fs::remove_file(&file).expect("it is there");
        assert!(matches!(watched.refresh(make, second(5)), News::Broken(_)));
        write("3");
        assert_eq!((watched.refresh(make, second(6)), *watched.value()), (News::Changed, 3));
    }

    #[test]
    fn what_can_not_be_read_for_a_while_is_tried_again_and_told_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("file");
        let start = Instant::now();
        let second = |n: u64| start + LOOK_EVERY * n as u32;
        let failing = |reason: &'static str| {
            let error = TlsError::new("k", &file, reason);
            move || Err(error.clone())
        };
        fs::write(&file, "one").expect("a write");
        let mut watched = Watched::new(vec![file.clone()], || Ok(1), start).expect("a number");
        fs::write(&file, "other").expect("a write");
        let full = failing("Too many open files");
        assert!(matches!(watched.refresh(&full, second(1)), News::Broken(_)));
        assert_eq!(watched.refresh(&full, second(2)), News::None);
        // Another reason is news.
        assert!(matches!(watched.refresh(failing("I/O error"), second(3)), News::Broken(_)));
        assert_eq!(*watched.value(), 1);
        // The files are as they were, and there is nothing in the way any more.
        assert_eq!((watched.refresh(|| Ok(2), second(4)), *watched.value()), (News::Changed, 2));
        assert_eq!(watched.refresh(full, second(5)), News::None);
    }
}

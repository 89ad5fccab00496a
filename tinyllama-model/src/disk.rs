//! Files and folders that survive a power cut: bytes are forced to disk before the names that make them
//! count.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Forces a file's bytes to disk.
///
/// # Errors
/// The file cannot be opened for writing, or the disk fails.
pub fn sync(path: &Path) -> io::Result<()> {
    // Windows syncs only what is open for writing.
    File::options().write(true).open(path)?.sync_all()
}

/// Forces the names in a folder to disk: a file is there only when the folder that holds it says so.
///
/// # Errors
/// The folder cannot be opened, or the disk fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(folder)?.sync_all(),
        false => Ok(()),
    }
}

/// Where something of another name is made until it is whole: `NAME.PROCESS.partial` beside it, on the
/// same disk.
///
/// # Errors
/// The path names no file.
pub(crate) fn partial_beside(wanted: &Path) -> io::Result<PathBuf> {
    let Some(name) = wanted.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path names nothing"));
    };
    let mut partial = name.to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    Ok(wanted.with_file_name(partial))
}

/// A folder in the making, which appears whole or not at all: dropped before its commit, it leaves
/// nothing. It is made beside the wanted one and renamed. Where an empty folder has that name already,
/// perhaps a link or a mounted volume that nothing can be renamed to, it is made in there and its files
/// move up at the commit.
#[derive(Debug)]
pub struct NewFolder {
    staging: PathBuf,
    target: PathBuf,
    /// Whether the target is an empty folder that was there before.
    is_inside: bool,
    /// Folders around the target that were made here, the innermost first.
    made: Vec<PathBuf>,
}

impl NewFolder {
    /// Starts a folder that is absent or empty, with the folders around it.
    ///
    /// # Errors
    /// The target holds something or is no folder, or the disk refuses.
    pub fn create(target: &Path) -> io::Result<Self> {
        let target = std::path::absolute(target)?;
        let is_inside = target.exists();
        if is_inside && fs::read_dir(&target)?.next().is_some() {
            let message = "the folder exists and is not empty; name a new place";
            return Err(io::Error::new(ErrorKind::AlreadyExists, message));
        }
        let staging =
            partial_beside(&if is_inside { target.join("files") } else { target.clone() })?;
        let around = target.ancestors().skip(1).take_while(|folder| !folder.exists());
        let made = around.map(Path::to_owned).collect();
        let new = Self { staging, target, is_inside, made };
        fs::create_dir_all(&new.staging)?;
        Ok(new)
    }

    /// Where its files go.
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Forces the files to disk and gives them the wanted name. `last` of them moves last where they move
    /// one by one: a folder without it is to count as nothing.
    ///
    /// # Errors
    /// The disk refuses; nothing is left then but what others have put there.
    pub fn commit(self, last: &str) -> io::Result<()> {
        let entries = fs::read_dir(&self.staging)?.map(|entry| entry.map(|entry| entry.path()));
        let mut files: Vec<PathBuf> = entries.collect::<Result<_, _>>()?;
        files.sort_by_key(|path| path.ends_with(last));
        files.iter().try_for_each(|file| sync(file))?;
        sync_folder(&self.staging)?;
        if !self.is_inside {
            fs::rename(&self.staging, &self.target)?;
            return sync_folder(self.target.parent().unwrap_or(&self.target));
        }
        for (index, file) in files.iter().enumerate() {
            let moved = |file: &PathBuf| self.target.join(file.file_name().unwrap_or_default());
            if let Err(error) = fs::rename(file, moved(file)) {
                for before in &files[..index] {
                    fs::remove_file(moved(before)).ok();
                }
                return Err(error);
            }
        }
        fs::remove_dir(&self.staging)?;
        sync_folder(&self.target)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After a commit there is nothing to remove but folders that are not empty, which stay; after a
        // failure there is no better place to say more.
        fs::remove_dir_all(&self.staging).ok();
        for folder in &self.made {
            fs::remove_dir(folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn fill(target: &Path) -> NewFolder {
        let new = NewFolder::create(target).unwrap();
        fs::write(new.path().join("a"), "1").unwrap();
        fs::write(new.path().join("b"), "2").unwrap();
        new
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("deep/er/out");
        let new = fill(&target);
        assert!(!target.exists());
        drop(new);
        assert!(names(scratch.path()).is_empty(), "the folders around it go, too");
        fill(&target).commit("a").unwrap();
        assert_eq!(names(&target), ["a", "b"]);
        assert_eq!(names(target.parent().unwrap()), ["out"]);
        let error = NewFolder::create(&target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(NewFolder::create(&target.join("a")).is_err(), "a file is no folder");
        assert!(NewFolder::create(&target.join("a/new")).is_err());
        assert_eq!(names(&target), ["a", "b"]);
    }

    #[test]
    fn an_empty_folder_is_filled_at_the_commit() {
        let scratch = tempfile::tempdir().unwrap();
        let new = fill(scratch.path());
        assert!(!scratch.path().join("a").exists());
        drop(new);
        assert!(names(scratch.path()).is_empty());
        // What others put there meanwhile stays; `b` cannot replace a folder, and `a` goes again.
        let new = fill(scratch.path());
        fs::create_dir(scratch.path().join("b")).unwrap();
        new.commit("b").unwrap_err();
        assert_eq!(names(scratch.path()), ["b"]);
        fs::remove_dir(scratch.path().join("b")).unwrap();
        fill(scratch.path()).commit("a").unwrap();
        assert_eq!(names(scratch.path()), ["a", "b"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_an_empty_folder_is_used() {
        let scratch = tempfile::tempdir().unwrap();
        let (real, link) = (scratch.path().join("real"), scratch.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        fill(&link).commit("a").unwrap();
        assert_eq!(names(&real), ["a", "b"]);
    }
}

//! Attaches the programs to a cgroup through pinned links. A link that is already there gets the
//! new program in one step, so that no `connect()` finds none.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use mesh_common::names;

use super::load::{LoadError, Loaded};
use super::{sys, tombstone};

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The cgroup cannot be opened.
    #[error("cannot open the cgroup {}: {source}", .path.display())]
    Cgroup {
        /// Which one.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The object lacks a program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel refuses to attach.
    #[error(
        "cannot attach {name} to {}: {source}; if another program holds the hook exclusively, \
         `bpftool cgroup show {}` names it", .cgroup.display(), .cgroup.display()
    )]
    Attach {
        /// The program.
        name: &'static str,
        /// The cgroup.
        cgroup: PathBuf,
        /// The cause.
        #[source]
        source: Box<ProgramError>,
    },
    /// Somebody uninstalls.
    #[error("uninstalled: {} is marked or empty; starting the agent installs again", .0.display())]
    Uninstalled(PathBuf),
    /// A pin cannot be read, written or removed.
    #[error("cannot use the pinned link {}: {source}", .path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What became of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Attached for the first time.
    New,
    /// The link was there and has the new program now.
    Replaced,
    /// The link was there, but its cgroup was gone or another one; attached anew.
    Moved,
}

/// Where a link is pinned.
#[must_use]
pub fn link_path(pin_path: &Path, program: &str) -> PathBuf {
    pin_path.join(names::LINKS_DIR).join(program)
}

/// Attaches every program, in the order of [`names::PROGRAMS`]. Meant to be called again when a
/// link is lost: those that are in order only get their program once more.
pub fn attach(
    loaded: &mut Loaded,
    cgroup: &Path,
    pin_path: &Path,
) -> Result<Vec<(&'static str, Attached)>, AttachError> {
    let cgroup_error = |source| AttachError::Cgroup { path: cgroup.to_owned(), source };
    let directory = File::open(cgroup).map_err(cgroup_error)?;
    let links = pin_path.join(names::LINKS_DIR);
    let pin_error = |source| AttachError::Pin { path: links.clone(), source };
    if tombstone::uninstalled(pin_path) {
        return Err(AttachError::Uninstalled(pin_path.to_owned()));
    }
    fs::create_dir_all(&links).map_err(pin_error)?;
    let _nobody_else = tombstone::lock_links(pin_path).map_err(pin_error)?;
    // Again: it may have been marked while we waited for the lock.
    if tombstone::uninstalled(pin_path) {
        return Err(AttachError::Uninstalled(pin_path.to_owned()));
    }
    // The cgroup's id is the inode number of its directory (kernfs, 64-bit hosts).
    let id = directory.metadata().map_err(cgroup_error)?.ino();
    let mut done = Vec::new();
    for name in names::PROGRAMS {
        let path = link_path(pin_path, name);
        let program = loaded.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let outcome = if path.exists() { replace(program, &path, id)? } else { None };
        let outcome = if let Some(outcome) = outcome {
            outcome
        } else {
            let moved = path.exists();
            attach_new(name, program, &directory, cgroup, &path)?;
            if moved { Attached::Moved } else { Attached::New }
        };
        done.push((name, outcome));
    }
    Ok(done)
}

/// Puts the program behind the pinned link; `None` where the link leads to another cgroup.
fn replace(program: &Program, path: &Path, cgroup: u64) -> Result<Option<Attached>, AttachError> {
    let pin_error = |source| AttachError::Pin { path: path.to_owned(), source };
    let link = sys::open_pin(path).map_err(pin_error)?;
    let info = sys::link_info(link.as_fd()).map_err(pin_error)?;
    if info.cgroup != cgroup {
        return Ok(None);
    }
    let fd = program.fd().map_err(|error| pin_error(io::Error::other(error)))?;
    sys::update_link(link.as_fd(), fd.as_fd()).map_err(pin_error)?;
    Ok(Some(Attached::Replaced))
}

/// Attaches and pins; a pin that leads elsewhere is replaced only after the new link works.
fn attach_new(
    name: &'static str,
    program: &mut Program,
    directory: &File,
    cgroup: &Path,
    path: &Path,
) -> Result<(), AttachError> {
    let refused =
        |source| AttachError::Attach { name, cgroup: cgroup.to_owned(), source: Box::new(source) };
    // `Single` passes no flags: the kernel refuses others for links, which are multi by nature.
    let mode = CgroupAttachMode::Single;
    let unpinnable = |error: LinkError| refused(ProgramError::IOError(io::Error::other(error)));
    let link: FdLink = if let Program::CgroupSockAddr(program) = program {
        let id = program.attach(directory, mode).map_err(refused)?;
        program.take_link(id).map_err(refused)?.try_into().map_err(unpinnable)?
    } else if let Program::CgroupSock(program) = program {
        let id = program.attach(directory, mode).map_err(refused)?;
        program.take_link(id).map_err(refused)?.try_into().map_err(unpinnable)?
    } else if let Program::SockOps(program) = program {
        let id = program.attach(directory, mode).map_err(refused)?;
        program.take_link(id).map_err(refused)?.try_into().map_err(unpinnable)?
    } else {
        return Err(LoadError::Missing(name).into());
    };
    let pin_error = |source| AttachError::Pin { path: path.to_owned(), source };
    if path.exists() {
        fs::remove_file(path).map_err(pin_error)?;
    }
    link.pin(path).map_err(|error| pin_error(io::Error::other(error)))?;
    Ok(())
}

/// A pinned link, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinkStatus {
    /// Name of the program.
    pub program: String,
    /// Whether the link is pinned and leads to a cgroup that exists.
    pub attached: bool,
    /// Kernel's id of the program behind it; 0 where there is none.
    pub program_id: u32,
    /// Id (inode number) of the cgroup; 0 where there is none.
    pub cgroup_id: u64,
}

/// Asks the kernel about the pinned links.
#[must_use]
pub fn links(pin_path: &Path) -> Vec<LinkStatus> {
    let status = |name: &str| {
        let info =
            sys::open_pin(&link_path(pin_path, name)).and_then(|link| describe(link.as_fd())).ok();
        LinkStatus {
            program: name.to_owned(),
            attached: info.is_some_and(|(_, cgroup)| cgroup != 0),
            program_id: info.map_or(0, |(program, _)| program),
            cgroup_id: info.map_or(0, |(_, cgroup)| cgroup),
        }
    };
    names::PROGRAMS.into_iter().map(status).collect()
}

/// Says which programs are not attached; `None` where all are.
#[must_use]
pub fn detached(pin_path: &Path) -> Option<String> {
    let names: Vec<String> = links(pin_path)
        .into_iter()
        .filter(|link| !link.attached)
        .map(|link| link.program)
        .collect();
    (!names.is_empty()).then(|| format!("not attached: {}", names.join(", ")))
}

fn describe(link: BorrowedFd<'_>) -> io::Result<(u32, u64)> {
    let info = sys::link_info(link)?;
    Ok((info.program, info.cgroup))
}

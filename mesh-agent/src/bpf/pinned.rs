//! A pinned map, opened with its sizes as the kernel knows them, to read and write many entries
//! in one system call.

#![expect(unsafe_code, reason = "plain old data as bytes, and system calls that take buffers")]

use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::{fs, io};

use aya::Pod;

use super::sys::{self, MapInfo};

/// Entries per system call: enough to make its cost vanish, few enough for a small buffer.
const CHUNK: usize = 1024;

/// `BPF_MAP_TYPE_PERCPU_HASH`, `_PERCPU_ARRAY`, `_LRU_PERCPU_HASH`.
const PER_CPU: [u32; 3] = [5, 6, 10];

/// A pinned map with keys of type `K` and values of type `V`; of per-CPU maps, `V` is one CPU's.
#[derive(Debug)]
pub(crate) struct Pinned<K, V> {
    fd: OwnedFd,
    info: MapInfo,
    /// Bytes of a value in system calls.
    stride: usize,
    types: PhantomData<fn() -> (K, V)>,
}

/// Sizes of a pinned map; `None` where nothing is pinned.
pub(crate) fn info(path: &Path) -> io::Result<Option<MapInfo>> {
    match sys::open_pin(path) {
        Ok(fd) => sys::map_info(fd.as_fd()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names this run of the machine: ids of maps are unique within one.
pub(crate) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

impl<K: Pod, V: Pod> Pinned<K, V> {
    /// Opens a pinned map; its keys and values must be as long as the types.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = sys::open_pin(path)?;
        let info = sys::map_info(fd.as_fd())?;
        let fits = |size: u32, bytes: usize| usize::try_from(size).is_ok_and(|size| size == bytes);
        if !fits(info.key_size, size_of::<K>()) || !fits(info.value_size, size_of::<V>()) {
            return Err(io::Error::other("its keys or values have another size"));
        }
        let stride = if PER_CPU.contains(&info.kind) {
            let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
            size_of::<V>().next_multiple_of(8) * cpus
        } else {
            size_of::<V>()
        };
        Ok(Self { fd, info, stride, types: PhantomData })
    }

    /// The map as the kernel describes it.
    pub(crate) const fn info(&self) -> MapInfo {
        self.info
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes entries, in this order. On an error, the number says how many were written.
    pub(crate) fn update(&self, entries: &[(K, V)]) -> Result<(), (usize, io::Error)> {
        if self.stride != size_of::<V>() {
            return Err((0, io::Error::other("each CPU has its own values")));
        }
        for (at, chunk) in entries.chunks(CHUNK).enumerate() {
            let keys: Vec<u8> = chunk.iter().flat_map(|(key, _)| bytes(key)).copied().collect();
            let values: Vec<u8> =
                chunk.iter().flat_map(|(_, value)| bytes(value)).copied().collect();
            self.change(at * CHUNK, &keys, Some(&values), chunk.len())?;
        }
        Ok(())
    }

    /// Writes entries of zeroes, in this order, of each CPU that has its own.
    pub(crate) fn zero(&self, entries: &[K]) -> Result<(), (usize, io::Error)> {
        for (at, chunk) in entries.chunks(CHUNK).enumerate() {
            let keys: Vec<u8> = chunk.iter().flat_map(bytes).copied().collect();
            let values = vec![0; chunk.len() * self.stride];
            self.change(at * CHUNK, &keys, Some(&values), chunk.len())?;
        }
        Ok(())
    }

    /// Deletes entries, in this order; one that is not there is an error.
    pub(crate) fn delete(&self, entries: &[K]) -> Result<(), (usize, io::Error)> {
        for (at, chunk) in entries.chunks(CHUNK).enumerate() {
            let keys: Vec<u8> = chunk.iter().flat_map(bytes).copied().collect();
            self.change(at * CHUNK, &keys, None, chunk.len())?;
        }
        Ok(())
    }

    fn change(
        &self,
        before: usize,
        keys: &[u8],
        values: Option<&[u8]>,
        count: usize,
    ) -> Result<(), (usize, io::Error)> {
        let length = u32::try_from(count).map_err(|error| (before, io::Error::other(error)))?;
        // SAFETY: as many keys and values as `length` says, of the map's sizes (see `open`).
        unsafe { sys::change_batch(self.fd(), keys, values, length) }
            .map_err(|(done, error)| (before + usize::try_from(done).unwrap_or(0), error))
    }

    /// Reads all entries, of arrays in order; each value as often as there are CPUs that have
    /// their own.
    pub(crate) fn each(&self, mut with: impl FnMut(K, &[V])) -> io::Result<()> {
        self.read(None, usize::MAX, |key, values| with(key, &values))
    }

    fn read(
        &self,
        from: Option<&[u8]>,
        most: usize,
        mut with: impl FnMut(K, Vec<V>),
    ) -> io::Result<()> {
        let token = size_of::<K>().max(size_of::<u32>());
        let mut from = from.map(<[u8]>::to_vec);
        let mut next = vec![0; token];
        let mut chunk = CHUNK.min(most);
        let mut done = 0;
        while done < most {
            let mut keys = vec![0; chunk * size_of::<K>()];
            let mut values = vec![0; chunk * self.stride];
            let length = u32::try_from(chunk).map_err(io::Error::other)?;
            // SAFETY: room for `chunk` keys and values of the map's sizes (see `open`).
            let read = unsafe {
                let (keys, values) = (&mut keys, &mut values);
                sys::lookup_batch(self.fd(), from.as_deref(), &mut next, keys, values, length)
            };
            let (count, more) = match read {
                // A hash gives whole buckets, and one of them is longer than this.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    chunk *= 2;
                    continue;
                }
                other => other?,
            };
            let count = usize::try_from(count).map_err(io::Error::other)?;
            let keys = keys.chunks_exact(size_of::<K>());
            let step = size_of::<V>().next_multiple_of(8).min(self.stride);
            for (key, values) in keys.zip(values.chunks_exact(self.stride)).take(count) {
                if let Some(key) = value(key) {
                    with(key, values.chunks(step).filter_map(value).collect());
                }
            }
            done += count;
            if !more {
                break;
            }
            from = Some(next.clone());
        }
        Ok(())
    }
}

impl<V: Pod> Pinned<u32, V> {
    /// The values of one entry of an array: one, or one of each CPU.
    pub(crate) fn entry(&self, index: u32) -> io::Result<Vec<V>> {
        let mut found = Vec::new();
        let before = index.checked_sub(1).map(u32::to_ne_bytes);
        let before = before.as_ref().map(<[u8; 4]>::as_slice);
        self.read(before, 1, |_, values| found = values)?;
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }

    /// Entries 0 to `end`, each folded to one value.
    pub(crate) fn entries(&self, end: u32, fold: impl Fn(&[V]) -> V) -> io::Result<Vec<V>> {
        let end = usize::try_from(end.min(self.info.max_entries)).map_err(io::Error::other)?;
        let mut all = Vec::with_capacity(end);
        if end > 0 {
            self.read(None, end, |_, values| all.push(fold(&values)))?;
        }
        all.truncate(end);
        Ok(all)
    }
}

/// A value's bytes.
pub(crate) const fn bytes<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: plain old data without padding, for its whole length.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A value from at least as many bytes as it has.
pub(super) const fn value<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, and every bit pattern is a valid value of plain old data.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

//! Reads many entries of a map in one call: bpf(2), BPF_MAP_LOOKUP_BATCH, which aya does not have. Hash maps know it since
//! Linux 5.6, per-CPU arrays since 5.13.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::Pod;
use aya_obj::generated::bpf_cmd;

use super::bpf;

/// Entries of a call. A bucket of a hash map comes as a whole, and has far fewer.
const CALL: usize = 4096;

/// All entries of a hash map whose keys and values have these types. One that comes or goes meanwhile is there or not.
///
/// # Errors
/// The kernel's.
pub(super) fn entries<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let (mut keys, mut values) = (zeroed::<K>(CALL), zeroed::<V>(CALL));
    let mut entries = Vec::new();
    let mut place = None;
    loop {
        let (count, is_last) = lookup(map, &mut place, &mut keys, &mut values, CALL)?;
        entries.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if is_last {
            return Ok(entries);
        }
    }
}

/// So many entries of a per-CPU array from `first` on, of each what its `cpus` possible CPUs have.
///
/// # Errors
/// The kernel's.
pub(super) fn per_cpu<V: Pod>(
    map: BorrowedFd<'_>,
    first: u32,
    count: usize,
    cpus: usize,
) -> io::Result<Vec<V>> {
    // The kernel rounds an entry's value up to eight bytes.
    const { assert!(size_of::<V>().is_multiple_of(8)) };
    let (mut keys, mut values) = (zeroed::<u32>(count), zeroed::<V>(count * cpus));
    // It begins behind this one.
    let mut place = first.checked_sub(1);
    let (read, _) = lookup(map, &mut place, &mut keys, &mut values, count)?;
    values.truncate(read * cpus);
    Ok(values)
}

fn zeroed<T: Pod>(count: usize) -> Vec<T> {
    // SAFETY: plain data, of which every pattern of bits is one.
    vec![unsafe { std::mem::zeroed() }; count]
}

/// Reads up to `count` entries behind `place`, which is where the next call goes on; how many there were, and whether they
/// were the last.
fn lookup<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    place: &mut Option<u32>,
    keys: &mut [K],
    values: &mut [V],
    count: usize,
) -> io::Result<(usize, bool)> {
    assert!(keys.len() >= count && values.len() >= count);
    let mut next = 0u32;
    let mut attr = bpf::nothing();
    attr.batch.in_batch = place.as_ref().map_or(0, |place| std::ptr::from_ref(place) as u64);
    attr.batch.out_batch = &raw mut next as u64;
    attr.batch.keys = keys.as_mut_ptr() as u64;
    attr.batch.values = values.as_mut_ptr() as u64;
    attr.batch.count = u32::try_from(count).unwrap_or(u32::MAX);
    attr.batch.map_fd = map.as_raw_fd().cast_unsigned();
    // SAFETY: the kernel writes at most `count` keys and values, of the sizes that the map has, into room for as many of
    // these types; our maps are of our types. A place is four bytes (kernel/bpf/hashtab.c; an array's is its key).
    let is_last = match unsafe { bpf::call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    *place = Some(next);
    // SAFETY: the kernel has put how many there were where how many there may be was.
    let read = unsafe { attr.batch.count } as usize;
    Ok((read.min(count), is_last))
}

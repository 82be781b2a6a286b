//! The C library's allocator: how the program sets it up.
//!
//! Chunks are decoded and compressed on one thread and let go of on another, in buffers of half a megabyte to several.
//! As it comes, glibc keeps such buffers in up to eight heaps a core and learns from the first large one to keep even
//! larger ones: on the benchmark's queries the process grows to 520 MB, and to 430 MB when segments are merged. Set up
//! as here it stays at 140 MB and 150 MB for the same work and the same CPU time. jemalloc comes close but needs `make`
//! to build; mimalloc 2 took 545 MB and mimalloc 3 more than a gigabyte.
//!
//! What is left are many small pieces, such as the labels of hundreds of thousands of streams: a heap keeps them once they
//! are free, up to five times what is in use. So a server gives them back when it comes near its bound.

/// Buffers from this size on are mapped, and unmapped as soon as they are free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: libc::c_int = 1 << 20;
/// Free memory at the end of a heap that is kept; less is given back and fetched again all the time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 16 << 20;

/// Sets the allocator up for a server. Call it before there are other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn set_up() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(cores.max(2)).unwrap_or(libc::c_int::MAX);
    let options =
        [(libc::M_ARENA_MAX, arenas), (libc::M_MMAP_THRESHOLD, MAPPED_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES)];
    for (option, value) in options {
        // An option that this libc does not know is refused, which is as good as not asking.
        #[expect(unsafe_code, reason = "there is no safe way to set the allocator's options")]
        // SAFETY: `mallopt` takes two integers, and refuses those that it does not know. No other thread runs yet.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}

/// Other allocators stay as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn set_up() {}

/// Gives the system back what is free and kept. Takes about a millisecond for ten megabytes of it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    #[expect(unsafe_code, reason = "there is no safe way to reach the allocator")]
    // SAFETY: `malloc_trim` may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators give back what they like.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

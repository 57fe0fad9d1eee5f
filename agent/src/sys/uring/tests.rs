use std::{fs, os::fd::AsFd, thread};

use super::*;

fn buffers(count: usize) -> Vec<AlignedBuf> {
    let mut buffers = AlignedBuf::many(count, 8192);
    for (number, buffer) in (1_u8..).zip(&mut buffers) {
        buffer.fill(number);
    }
    buffers
}

#[test]
fn registered_and_other_buffers_land_where_they_belong() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![0xA5; 8 * 8192]).unwrap();
    let mut ring = WriteRing::new(file.as_file().as_fd(), 4, None).unwrap();
    let mut given = buffers(3);
    ring.register(given[0].region()).unwrap();
    let mut foreign = AlignedBuf::new(8192);
    foreign.fill(9);
    given.push(foreign);
    for (place, buffer) in given.into_iter().enumerate() {
        assert_eq!(ring.free_place(), Some(place));
        ring.push(place, buffer, (2 * place as u64) * 8192);
    }
    assert_eq!((ring.free_place(), ring.in_flight()), (None, 4));
    let mut answered = Vec::new();
    while answered.len() < 4 {
        ring.wait().unwrap();
        while let Some(answer) = ring.answer() {
            assert_eq!(answer.result.unwrap(), 8192);
            answered.push((answer.place, answer.buffer[0]));
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [(0, 1), (1, 2), (2, 3), (3, 9)]);
    drop(ring);
    let content = fs::read(file.path()).unwrap();
    let firsts: Vec<u8> = content.chunks(8192).map(|block| block[0]).collect();
    assert_eq!(firsts, [1, 0xA5, 2, 0xA5, 3, 0xA5, 9, 0xA5]);
    assert!(
        content
            .chunks(8192)
            .all(|block| block.iter().all(|&byte| byte == block[0]))
    );
}

#[test]
fn a_thread_that_waits_is_woken_as_often_as_it_is_called() {
    let file = tempfile::tempfile().unwrap();
    let mut ring = WriteRing::new(file.as_fd(), 1, None).unwrap();
    for _ in 0..3 {
        let waker = ring.waker();
        let waking = thread::spawn(move || waker.wake());
        ring.wait().unwrap();
        assert!(ring.answer().is_none());
        waking.join().unwrap();
    }
}

#[test]
fn a_ring_that_is_dropped_waits_for_its_writes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut ring = WriteRing::new(file.as_file().as_fd(), 2, None).unwrap();
    for (place, buffer) in buffers(2).into_iter().enumerate() {
        ring.push(place, buffer, place as u64 * 8192);
    }
    // Not even given to the kernel yet.
    drop(ring);
    let content = fs::read(file.path()).unwrap();
    assert!(content[..8192].iter().all(|&byte| byte == 1));
    assert!(content[8192..].iter().all(|&byte| byte == 2) && content.len() == 16384);
}

#[test]
fn a_write_that_is_too_large_for_one_request_goes_in_parts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut ring = WriteRing::new(file.as_file().as_fd(), 2, NonZeroUsize::new(1 << 18)).unwrap();
    for (place, len) in [(0, (1 << 20) - 4096), (1, 4096)] {
        let mut buffer = AlignedBuf::new(len);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = (at / 512 + 1) as u8;
        }
        ring.push(place, buffer, place as u64 * (1 << 20));
    }
    let mut answered = Vec::new();
    while answered.len() < 2 {
        ring.wait().unwrap();
        while let Some(answer) = ring.answer() {
            assert_eq!(answer.result.unwrap(), answer.buffer.len());
            answered.push(answer.place);
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [0, 1]);
    drop(ring);
    let content = fs::read(file.path()).unwrap();
    assert_eq!(content.len(), (1 << 20) + 4096);
    for (at, block) in content.chunks(512).enumerate() {
        let expected = match at * 512 {
            0..0xFF000 => (at + 1) as u8,
            0xFF000..0x10_0000 => 0,
            later => ((later - (1 << 20)) / 512 + 1) as u8,
        };
        assert!(block.iter().all(|&byte| byte == expected), "block {at}");
    }
}

#[test]
fn what_the_kernel_refuses_is_told_and_the_buffer_comes_back() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let read_only = fs::File::open(file.path()).unwrap();
    let mut ring = WriteRing::new(read_only.as_fd(), 1, None).unwrap();
    ring.push(0, buffers(1).remove(0), 0);
    let answer = loop {
        ring.wait().unwrap();
        if let Some(answer) = ring.answer() {
            break answer;
        }
    };
    assert_eq!(answer.result.unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(answer.buffer[0], 1);
}

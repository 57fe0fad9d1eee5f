use super::*;
use crate::stream::plan::tests::manifest;

fn agenda(layout: &str, done: &[u64]) -> Agenda {
    Agenda::pull(Arc::new(manifest(layout)), |chunk| done.contains(&chunk))
}

/// Which chunks each request has, as text.
fn ranges(agenda: &mut Agenda) -> String {
    let mut all = Vec::new();
    while let Some(range) = agenda.next_range() {
        let frames: Vec<_> = range.frames.iter().map(ToString::to_string).collect();
        all.push(frames.join(","));
    }
    all.join(" ")
}

#[test]
fn neighbours_are_fetched_together() {
    let table: [(&str, &[u64], &str); 11] = [
        ("111", &[], "0,1,2"),
        // Holes of the disk don't part frames that lie side by side in the pack.
        ("1_1__1", &[], "0,1,2"),
        // 4 MiB at most.
        ("11111", &[], "0,1,2,3 4"),
        ("9", &[], "0"),
        // Nor over the border of a pack.
        ("11|11", &[], "0,1 2,3"),
        // What is done isn't fetched, and parts the range.
        ("111", &[1], "0 2"),
        ("111", &[0, 1, 2], ""),
        ("___", &[], ""),
        // Frames of a few KiB are read over rather than asked around, as long as they are few.
        ("1a1", &[1], "0,2"),
        ("1aa1", &[1, 2], "0,3"),
        ("1aaaaaaaaa1", &[1, 2, 3, 4, 5, 6, 7, 8, 9], "0 10"),
    ];
    for (layout, done, expected) in table {
        assert_eq!(ranges(&mut agenda(layout, done)), expected, "{layout} {done:?}");
    }
}

#[test]
fn a_range_begins_and_ends_with_frames_that_are_wanted() {
    let mut gaps = agenda("a1aa1a", &[0, 2, 3, 5]);
    let range = gaps.next_range().unwrap();
    assert_eq!(range.frames, [1, 4]);
    let (mib, kib) = (1 << 20, 1 << 10);
    assert_eq!(
        range.bytes(&gaps.manifest),
        4 * kib..4 * kib + mib + 8 * kib + mib
    );
    assert_eq!(gaps.wanted(), Amount::default());
}

#[test]
fn equal_chunks_that_share_a_frame_are_asked_for_each() {
    let mut shared = manifest("11");
    shared.chunks[1].offset = 0;
    let mut agenda = Agenda::pull(Arc::new(shared), |_| false);
    assert_eq!(ranges(&mut agenda), "0 1");
}

#[test]
fn what_came_wrong_goes_first_and_to_the_store_that_is_named() {
    let mut agenda = agenda("111", &[]);
    agenda.next_range().unwrap();
    agenda.again(1, 7);
    let range = agenda.next_range().unwrap();
    assert_eq!((range.frames, range.origin), ([1].into(), 7));
    assert!(agenda.next_range().is_none());
}

#[test]
fn only_what_differs_is_fetched_until_the_network_takes_over() {
    let mut agenda = Agenda::question(Arc::new(manifest("11111111")), 2, |chunk| chunk == 7);
    assert_eq!((agenda.next_look(), agenda.next_look()), (Some((1, true)), None));
    assert!(!agenda.is_sampled(0) && agenda.is_sampled(1));
    agenda.sample_more();
    assert!(!agenda.is_sampled(1));
    assert_eq!((agenda.next_look(), agenda.next_look()), (Some((5, true)), None));
    agenda.looked(1, true);
    agenda.looked(5, false);
    // As long as nothing is judged, nothing is fetched.
    assert!(agenda.next_range().is_none());

    agenda.set_mode(Mode::Checking);
    assert_eq!(ranges(&mut agenda), "5");
    assert_eq!(
        (agenda.next_look(), agenda.next_look()),
        (Some((0, false)), Some((2, false)))
    );
    agenda.looked(2, false);
    assert_eq!(agenda.wanted().plain, 1 << 20);

    // The network takes all but what is being looked at, and what was found.
    agenda.set_mode(Mode::Pulling);
    assert!(agenda.next_look().is_none());
    assert_eq!(ranges(&mut agenda), "2,3,4 6");
    assert!(!agenda.nothing_to_look_at());
    agenda.looked(0, false);
    assert!(agenda.nothing_to_look_at());
    assert_eq!(ranges(&mut agenda), "0");
    assert_eq!((agenda.open(), agenda.wanted()), Default::default());
}

#[test]
fn a_chunk_that_somebody_else_looks_at_is_left_alone_until_the_result() {
    let mut agenda = Agenda::question(Arc::new(manifest("111")), 32, |_| false);
    agenda.hold(0);
    agenda.set_mode(Mode::Pulling);
    assert_eq!(ranges(&mut agenda), "1,2");
    assert!(agenda.next_look().is_none() && agenda.is_sampled(0));
    assert!(!agenda.nothing_to_look_at());
    agenda.looked(0, false);
    assert_eq!(ranges(&mut agenda), "0");
}

#[test]
fn any_first_part_of_the_samples_is_spread_over_the_disk() {
    assert_eq!(spread(3, 32), [0, 2, 1]);
    assert_eq!(spread(1, 32), [0]);
    assert_eq!(spread(0, 32), [0; 0]);
    assert_eq!(spread(800, 8), [50, 450, 250, 650, 150, 550, 350, 750]);
    for (count, most) in [(33, 32), (1000, 32), (10, 5), (7, 1), (8, 8)] {
        let mut places = spread(count, most);
        assert_eq!(places.len(), most);
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), most, "{count} {most}");
        assert!(places.iter().all(|&place| place < count));
    }
}

//! An image that is encrypted, and an agent that is killed.

use super::*;

/// The task of an agent that was killed goes on; the key of its image is in no file, and comes with the session.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_an_encrypted_image_is_in_memory_only_and_comes_again_after_a_restart() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let key = imprint_image::seal::DataKey::from_bytes([0xA7; 32]);
    let mut task = deploy("T", "serial=none");
    let Some(task::Kind::Deploy(deploy)) = &mut task.kind else {
        panic!("it deploys")
    };
    let image = deploy.image.as_mut().unwrap();
    image.data_key = key.expose().to_vec();
    image.data_key_id = key.id().as_bytes().to_vec();
    let in_files = |bytes: &[u8]| {
        let files = fs::read_dir(world.folder.path().join("state")).unwrap();
        let hits = files.filter(|file| {
            let content = fs::read(file.as_ref().unwrap().path()).unwrap_or_default();
            content.windows(bytes.len()).any(|window| window == bytes)
        });
        hits.count()
    };

    let (stop, agent) = world.start();
    let mut line = timeout(PATIENCE, world.lines.recv()).await.unwrap().unwrap();
    line.greet().await;
    line.send(Theirs::Task(task.clone())).await;
    // It looks for its disk, for two seconds at least, and is killed meanwhile.
    assert!(matches!(line.next().await, Ours::Step(_)));
    assert_eq!(in_files(b"debian"), 1, "the task is kept");
    assert_eq!(in_files(key.id().as_bytes()), 1);
    assert_eq!(in_files(&[0xA7; 8]), 0, "its key is kept");
    stop.cancel();
    agent.await.unwrap().unwrap();

    let (stop, agent) = world.start();
    let mut line = timeout(PATIENCE, world.lines.recv()).await.unwrap().unwrap();
    assert_eq!(line.greet().await.task_id, "T");
    line.send(Theirs::Task(task)).await;
    let outcome = line.outcome().await;
    assert!(
        matches!(outcome.result, Some(outcome::Result::Failure(_))),
        "{outcome:?}"
    );
    assert_eq!(in_files(&[0xA7; 8]), 0);
    stop.cancel();
    agent.await.unwrap().unwrap();
}

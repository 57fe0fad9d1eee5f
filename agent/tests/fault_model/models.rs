//! Any image, any disk, any options, any faults at once.

use std::env;

use anyhow::Result;
use proptest::{
    strategy::Strategy,
    test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner},
};

use crate::{
    case::{Case, artifacts, plain_images},
    judge::judge,
    leaks::{alone, no_thread_is_left, runtime},
    run::run,
};

/// Without a wish for more, the same few cases each time.
fn config(cases: u32) -> Config {
    let config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/fault_model/regressions.txt",
        ))),
        source_file: Some(file!()),
        // Each one takes a part of a second, and some of them end by patience.
        max_shrink_iters: 30,
        ..Config::default()
    };
    if env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_260_401),
        ..config
    }
}

fn check(cases: u32, any: &impl Strategy<Value = Case>) {
    let _alone = alone();
    let mut runner = TestRunner::new(config(cases));
    let checked = runner.run(any, |case| {
        one(&case).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

fn one(case: &Case) -> Result<()> {
    let runtime = runtime();
    let ended = runtime.block_on(run(case))?;
    drop(runtime);
    judge(case, &ended)?;
    no_thread_is_left()
}

#[test]
fn any_artifact_ends_proven_or_with_a_clear_head() {
    check(40, &artifacts());
}

#[test]
fn any_plain_image_ends_proven_or_with_a_clear_head() {
    check(24, &plain_images());
}

//! The weights that were asked for are the shares that the kernel gives, exactly.

use std::num::NonZeroU32;

use mesh_tests::load::Mode;
use mesh_tests::stats::sigmas;
use mesh_tests::testbed::{Testbed, VIP};
use mesh_tests::traffic::{Outcome, Plan, Traffic};
use mesh_tests::ui;

const CONNECTIONS: u64 = 100_000;
const WEIGHTS: [(&str, u32); 3] = [("v1", 1), ("v5", 5), ("v94", 94)];

#[test]
fn hundred_thousand_connections_over_weights_1_5_94_are_within_three_sigma() -> anyhow::Result<()> {
    let bed = Testbed::start("split")?;
    let names: Vec<&str> = WEIGHTS.iter().map(|(name, _)| *name).collect();
    let _servers = bed.serve(Mode::Greet, &names)?;
    bed.apply_split(&WEIGHTS)?;

    // A fair split misses three sigma once in about 150 samples of three shares. A sample that
    // does is drawn once more; a biased split fails both.
    let mut worst = f64::MAX;
    for _ in 0..2 {
        let outcome = sample(&bed)?;
        assert_eq!(outcome.failed(), 0, "{:?}", outcome.failures());
        assert_eq!(outcome.total(), CONNECTIONS);
        worst = worst.min(deviation(&outcome));
        if worst <= 3.0 {
            break;
        }
    }
    assert!(worst <= 3.0, "{worst:.2} sigma off, twice");
    Ok(())
}

fn sample(bed: &Testbed) -> anyhow::Result<Outcome> {
    let plan =
        Plan { concurrency: NonZeroU32::MIN.saturating_add(1), ..Plan::to(VIP, Mode::Greet) };
    Traffic::run(&bed.node.place(), plan, CONNECTIONS)
}

/// Largest deviation of the three shares, in standard deviations.
fn deviation(outcome: &Outcome) -> f64 {
    let mut worst = 0.0_f64;
    for (name, weight) in WEIGHTS {
        let share = f64::from(weight) / 100.0;
        let off = sigmas(outcome.answered_by(name), CONNECTIONS, share);
        ui::say(format!("{name}: {} of {CONNECTIONS}, {off:.2} sigma", outcome.answered_by(name)));
        worst = worst.max(off);
    }
    worst
}

//! What `bench connect` says: a table for a person, JSON for a machine, the aims beside both.

use serde_json::{Map, Value, json};

use super::Size;
use super::ways::{Measured, Way};
use crate::bench::peers::Missing;
use crate::bench::{row, world};
use crate::stats::Figures;
use crate::ui;

/// Aims, as the project's performance targets have them.
const AIM_RATIO: f64 = 1.05;
const AIM_HIT: f64 = 2.0;
const AIM_MISS_NS: f64 = 30.0;
const AIM_FLAT: f64 = 1.10;
const AIM_GUARDED_NS: f64 = 100.0;

/// Figures of all ways.
struct Table(Vec<Line>);

/// Sorted figures of one way, and its ratios round by round.
struct Line {
    way: Way,
    by_round: Vec<f64>,
    ns_by_round: Vec<f64>,
    ratio: Figures,
    hook: Figures,
    others: Figures,
}

impl Table {
    fn get(&self, way: &Way) -> Option<&Line> {
        self.0.iter().find(|line| line.way == *way)
    }

    /// Median ratio to direct.
    fn ratio(&self, way: &Way) -> f64 {
        self.get(way).map_or(0.0, |line| line.ratio.median())
    }

    /// Median nanoseconds inside the hook, minus the empty program.
    fn net(&self, way: &Way) -> f64 {
        let hook = |way| self.get(way).map_or(0.0, |line| line.hook.median());
        hook(way) - hook(&Way::Empty)
    }

    /// Median nanoseconds in all other programs for a whole connection.
    fn others(&self, way: &Way) -> f64 {
        self.get(way).map_or(0.0, |line| line.others.median())
    }

    /// What one way takes more than another, in nanoseconds of connect+request+close, round by
    /// round.
    fn over(&self, way: &Way, base: &Way) -> Figures {
        let rounds = |way| self.get(way).map_or(&[][..], |line| &line.ns_by_round);
        Figures::new(rounds(way).iter().zip(rounds(base)).map(|(a, b)| a - b).collect())
    }

    /// Median of one way's ratio divided by another's, round by round.
    fn quotient(&self, way: &Way, base: &Way) -> f64 {
        let rounds = |way| self.get(way).map_or(&[][..], |line| &line.by_round);
        let quotients = rounds(way).iter().zip(rounds(base)).map(|(a, b)| a / b);
        Figures::new(quotients.collect()).median()
    }
}

pub(super) fn tell(measured: &[(Way, Measured)], size: &Size, missing: &[Missing]) -> Value {
    let line = |(way, measured): &(Way, Measured)| Line {
        way: way.clone(),
        by_round: measured.ratio.clone(),
        ns_by_round: measured.ns.clone(),
        ratio: Figures::new(measured.ratio.clone()),
        hook: Figures::new(measured.hook_ns.clone()),
        others: Figures::new(measured.others_ns.clone()),
    };
    let table = Table(measured.iter().map(line).collect());
    ui::say(format!(
        "{:?} services x {} backends, {} rounds of {} connections each, all on CPU {}",
        size.services,
        world::BACKENDS,
        size.rounds,
        size.per_turn,
        size.cpu
    ));
    let mut value = json!({
        "services": size.services,
        "backends_per_service": world::BACKENDS,
        "rounds": size.rounds,
        "connections_per_turn": size.per_turn,
        "cpu": size.cpu,
        "congestion_control": size.transport.name(),
        "noise_floor": table.ratio(&Way::DirectAgain),
        "variants": variants(&table),
        "not_installed": missing.iter().map(|it| (it.name.to_owned(), json!(it.reason)))
            .collect::<Map<_, _>>(),
        "aims": {
            "ratio": AIM_RATIO,
            "hit_to_smallest": AIM_HIT,
            "miss_over_smallest_ns": AIM_MISS_NS,
            "flat": AIM_FLAT,
            "guarded_over_unguarded_ns": AIM_GUARDED_NS,
        },
    });
    for Missing { name, reason } in missing {
        ui::say(format!("{name}: not installed ({reason})"));
    }
    if table.get(&Way::MeshAll).is_some()
        && let (Some(value), Value::Object(mesh)) = (value.as_object_mut(), compare(&table, size))
    {
        value.extend(mesh);
    }
    value
}

fn variants(table: &Table) -> Map<String, Value> {
    let head = ["median", "p10", "p90", "hook ns", "minus empty", "other ns"];
    row("connect+request+close, ratio to direct", &head.map(str::to_owned));
    let mut variants = Map::new();
    for Line { way, ratio, hook, others, .. } in &table.0 {
        let mut cells =
            [50, 10, 90].map(|percent| format!("{:.3}", ratio.percentile(percent))).to_vec();
        let mut value = json!({
            "ratio_median": ratio.median(),
            "ratio_p10": ratio.percentile(10),
            "ratio_p90": ratio.percentile(90),
        });
        if hook.median() > 0.0 {
            cells.extend([hook.median(), table.net(way)].map(|ns| format!("{ns:.0}")));
            value["hook_ns"] = json!(hook.median());
            value["hook_ns_p10"] = json!(hook.percentile(10));
            value["hook_ns_p90"] = json!(hook.percentile(90));
            value["hook_ns_minus_empty"] = json!(table.net(way));
        }
        if others.median() > 0.0 {
            cells.push(format!("{:.0}", others.median()));
            value["other_programs_ns_per_connection"] = json!(others.median());
        }
        let name = way.to_string();
        row(&name, &cells);
        variants.insert(name, value);
    }
    variants
}

/// The mesh against its yardsticks, and against itself at another size.
fn compare(table: &Table, size: &Size) -> Value {
    let (least, most) = (size.services.first().copied().unwrap_or(1), size.most());
    let (hit, miss) = (Way::MeshHit(most), Way::MeshMiss(most));
    let times = |mesh: &Way, floor: &Way| table.net(mesh) / table.net(floor).max(1.0);
    let hit_times = times(&hit, &Way::FloorHit);
    let all_times = times(&Way::MeshAll, &Way::FloorAll);
    let miss_over = table.net(&miss) - table.net(&Way::FloorMiss);
    ui::say(format!(
        "at {most} services, ratio to direct: hit {:.3}, all services {:.3}, miss {:.3} (aim: at \
         most {AIM_RATIO}; direct against itself {:.3})",
        table.ratio(&hit),
        table.ratio(&Way::MeshAll),
        table.ratio(&miss),
        table.ratio(&Way::DirectAgain)
    ));
    ui::say(format!(
        "in the hook: hit {hit_times:.2} times the smallest program, over all services \
         {all_times:.2} times (aim: at most {AIM_HIT}); miss {miss_over:+.0} ns (aim: at most \
         +{AIM_MISS_NS})"
    ));
    ui::say(format!(
        "besides connect4, a connection spends in other programs: hit {:.0} ns, miss {:.0} ns",
        table.others(&hit),
        table.others(&miss)
    ));
    let flat_ns = |of: fn(u32) -> Way| table.net(&of(most)) / table.net(&of(least)).max(1.0);
    let flat_ratio = |of: fn(u32) -> Way| table.quotient(&of(most), &of(least));
    let flat = json!({
        "from": least,
        "to": most,
        "hook_hit": flat_ns(Way::MeshHit),
        "hook_miss": flat_ns(Way::MeshMiss),
        "connect_request_close_hit": flat_ratio(Way::MeshHit),
        "connect_request_close_miss": flat_ratio(Way::MeshMiss),
        "connect_request_close_1000_backends_to_1":
            table.quotient(&Way::MeshBackends(1_000), &Way::MeshBackends(1)),
    });
    ui::say(format!(
        "flat: {most} services against {least}: hook {:.2} (hit), {:.2} (miss); \
         connect+request+close {:.3} (hit), {:.3} (miss); 1,000 backends against 1: {:.3} (aim: \
         at most {AIM_FLAT})",
        flat_ns(Way::MeshHit),
        flat_ns(Way::MeshMiss),
        flat_ratio(Way::MeshHit),
        flat_ratio(Way::MeshMiss),
        table.quotient(&Way::MeshBackends(1_000), &Way::MeshBackends(1)),
    ));
    json!({
        "flat": flat,
        "guarded": guarded(table, &hit),
        "connect_request_close_hit": table.ratio(&hit),
        "connect_request_close_all": table.ratio(&Way::MeshAll),
        "connect_request_close_miss": table.ratio(&miss),
        "hook_ns_hit": table.net(&hit),
        "hook_ns_all": table.net(&Way::MeshAll),
        "hook_ns_miss": table.net(&miss),
        "hook_ns_smallest_hit": table.net(&Way::FloorHit),
        "hook_ns_smallest_all": table.net(&Way::FloorAll),
        "hook_ns_smallest_miss": table.net(&Way::FloorMiss),
        "other_programs_ns_hit": table.others(&hit),
        "other_programs_ns_miss": table.others(&miss),
        "hit_to_smallest": hit_times,
        "all_to_smallest": all_times,
        "miss_over_smallest_ns": miss_over,
    })
}

/// Limits, breakers and outlier detection against none, everything else alike.
fn guarded(table: &Table, hit: &Way) -> Value {
    let whole = table.over(&Way::MeshGuarded, hit);
    let noise = table.over(&Way::DirectAgain, &Way::Direct);
    let hook = table.net(&Way::MeshGuarded) - table.net(hit);
    let others = table.others(&Way::MeshGuarded) - table.others(hit);
    ui::say(format!(
        "guarded against not: connect+request+close {:+.0} ns (p10 {:+.0}, p90 {:+.0}; direct \
         against itself {:+.0}, {:+.0}, {:+.0}); in the hook {hook:+.0} ns, in other programs \
         {others:+.0} ns (aim: at most +{AIM_GUARDED_NS})",
        whole.median(),
        whole.percentile(10),
        whole.percentile(90),
        noise.median(),
        noise.percentile(10),
        noise.percentile(90),
    ));
    json!({
        "connect_request_close_over_unguarded_ns": whole.median(),
        "connect_request_close_over_unguarded_ns_p10": whole.percentile(10),
        "connect_request_close_over_unguarded_ns_p90": whole.percentile(90),
        "direct_again_over_direct_ns": noise.median(),
        "direct_again_over_direct_ns_p10": noise.percentile(10),
        "direct_again_over_direct_ns_p90": noise.percentile(90),
        "hook_over_unguarded_ns": hook,
        "other_programs_over_unguarded_ns": others,
    })
}

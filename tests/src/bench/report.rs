//! What `bench connect` says: a table for a person, JSON for a machine, the aims beside both.

use serde_json::{Map, Value, json};

use super::connect::{
    DIRECT_AGAIN, EMPTY, FLOOR_ALL, FLOOR_HIT, FLOOR_MISS, MESH_ALL, MESH_HIT, MESH_MISS, Measured,
    Size,
};
use super::{row, world};
use crate::stats::Figures;
use crate::ui;

/// Aims, as the project's performance targets have them.
const AIM_RATIO: f64 = 1.05;
const AIM_HIT: f64 = 2.0;
const AIM_MISS_NS: f64 = 30.0;

/// Sorted figures of all variants.
struct Table(Vec<Line>);

/// Sorted figures of one variant.
struct Line {
    name: &'static str,
    ratio: Figures,
    hook: Figures,
    sockops: Figures,
}

impl Table {
    fn get(&self, name: &str) -> Option<&Line> {
        self.0.iter().find(|line| line.name == name)
    }

    /// Median ratio to direct.
    fn ratio(&self, name: &str) -> f64 {
        self.get(name).map_or(0.0, |line| line.ratio.median())
    }

    /// Median nanoseconds inside the hook, minus the empty program.
    fn net(&self, name: &str) -> f64 {
        let hook = |name| self.get(name).map_or(0.0, |line| line.hook.median());
        hook(name) - hook(EMPTY)
    }

    /// Median nanoseconds in sockops for a whole connection.
    fn sockops(&self, name: &str) -> f64 {
        self.get(name).map_or(0.0, |line| line.sockops.median())
    }
}

pub(super) fn tell(measured: &[(&'static str, Measured)], size: &Size) -> Value {
    let table = Table(
        measured
            .iter()
            .map(|(name, measured)| Line {
                name,
                ratio: Figures::new(measured.ratio.clone()),
                hook: Figures::new(measured.hook_ns.clone()),
                sockops: Figures::new(measured.sockops_ns.clone()),
            })
            .collect(),
    );
    ui::say(format!(
        "{} services x {} backends, {} rounds of {} connections each, all on CPU {}",
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
        "noise_floor": table.ratio(DIRECT_AGAIN),
        "variants": variants(&table),
        "aims": {
            "ratio": AIM_RATIO,
            "hit_to_smallest": AIM_HIT,
            "miss_over_smallest_ns": AIM_MISS_NS,
        },
    });
    if table.get(MESH_HIT).is_some()
        && let (Some(value), Value::Object(mesh)) = (value.as_object_mut(), compare(&table))
    {
        value.extend(mesh);
    }
    value
}

fn variants(table: &Table) -> Map<String, Value> {
    let head = ["median", "p10", "p90", "hook ns", "minus empty", "sockops ns"];
    row("connect+request+close, ratio to direct", &head.map(str::to_owned));
    let mut variants = Map::new();
    for Line { name, ratio, hook, sockops } in &table.0 {
        let mut cells =
            [50, 10, 90].map(|percent| format!("{:.3}", ratio.percentile(percent))).to_vec();
        let mut value = json!({
            "ratio_median": ratio.median(),
            "ratio_p10": ratio.percentile(10),
            "ratio_p90": ratio.percentile(90),
        });
        if hook.median() > 0.0 {
            cells.push(format!("{:.0}", hook.median()));
            cells.push(format!("{:.0}", table.net(name)));
            value["hook_ns"] = json!(hook.median());
            value["hook_ns_p10"] = json!(hook.percentile(10));
            value["hook_ns_p90"] = json!(hook.percentile(90));
            value["hook_ns_minus_empty"] = json!(table.net(name));
        }
        if sockops.median() > 0.0 {
            cells.push(format!("{:.0}", sockops.median()));
            value["sockops_ns_per_connection"] = json!(sockops.median());
        }
        row(name, &cells);
        variants.insert((*name).to_owned(), value);
    }
    variants
}

/// The mesh against its yardsticks.
fn compare(table: &Table) -> Value {
    let times = |mesh: &str, floor: &str| table.net(mesh) / table.net(floor).max(1.0);
    let hit = times(MESH_HIT, FLOOR_HIT);
    let all = times(MESH_ALL, FLOOR_ALL);
    let miss = table.net(MESH_MISS) - table.net(FLOOR_MISS);
    ui::say(format!(
        "ratio to direct: hit {:.3}, all services {:.3}, miss {:.3} (aim: at most {AIM_RATIO}; \
         direct against itself {:.3})",
        table.ratio(MESH_HIT),
        table.ratio(MESH_ALL),
        table.ratio(MESH_MISS),
        table.ratio(DIRECT_AGAIN)
    ));
    ui::say(format!(
        "in the hook: hit {hit:.2} times the smallest program, over all services {all:.2} times \
         (aim: at most {AIM_HIT}); miss {miss:+.0} ns (aim: at most +{AIM_MISS_NS})"
    ));
    ui::say(format!(
        "besides connect4, a connection spends in sockops: hit {:.0} ns, miss {:.0} ns",
        table.sockops(MESH_HIT),
        table.sockops(MESH_MISS)
    ));
    json!({
        "connect_request_close_hit": table.ratio(MESH_HIT),
        "connect_request_close_all": table.ratio(MESH_ALL),
        "connect_request_close_miss": table.ratio(MESH_MISS),
        "hook_ns_hit": table.net(MESH_HIT),
        "hook_ns_all": table.net(MESH_ALL),
        "hook_ns_miss": table.net(MESH_MISS),
        "hook_ns_smallest_hit": table.net(FLOOR_HIT),
        "hook_ns_smallest_all": table.net(FLOOR_ALL),
        "hook_ns_smallest_miss": table.net(FLOOR_MISS),
        "hit_to_smallest": hit,
        "all_to_smallest": all,
        "miss_over_smallest_ns": miss,
    })
}

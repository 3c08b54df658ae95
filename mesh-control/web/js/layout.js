// Places a graph in layers from left to right: who calls is left of whom it calls. A large one gets
// blocks instead. Pure, and quick enough for a thousand nodes between two frames.

export const NODE = { width: 176, height: 46 };
const GAP = { column: 104, row: 22, grid: 16, block: 34, title: 40 };
/** What an edge needs where it goes past a column. */
const LANE = { height: 4, row: 18 };
const SWEEPS = 6;
/** With more nodes there are no layers that anybody could read: groups are blocks then. */
const LAYERED = 120;

/**
 * `nodes`: {id, group} in a fixed order. `edges`: {id, from, to}. Returns places of the nodes' upper
 * left corners, by edge the points where it goes past columns, blocks, and the size of it all. The
 * same graph always gets the same places.
 */
export function layout(nodes, edges) {
  return nodes.length > LAYERED ? blocks(nodes) : layered(nodes, edges);
}

function layered(nodes, edges) {
  const index = new Map(nodes.map(({ id }, at) => [id, at]));
  const arrows = edges.map(({ id, from, to }) => ({ id, a: index.get(from), b: index.get(to) }))
    .filter(({ a, b }) => a !== b);
  const next = nodes.map(() => []);
  for (const { a, b } of arrows) next[a].push(b);
  const layer = layers(next, withoutCycles(next));
  const near = nodes.map(() => []);
  const lanes = new Map();
  for (const { id, a, b } of arrows) {
    let last = a;
    const lane = [];
    // Something in each layer between, so that the edge has a place there.
    for (let at = layer[a] + 1; at < layer[b]; at += 1) {
      const between = layer.push(at) - 1;
      near.push([]);
      lane.push(between);
      near[last].push(between);
      near[between].push(last);
      last = between;
    }
    near[last].push(b);
    near[b].push(last);
    lanes.set(id, lane);
  }
  const all = layer.map((_, at) => at);
  const alone = all.filter((at) => near[at].length === 0);
  const rows = Math.max(8, Math.ceil(Math.sqrt(layer.length) * 1.4));
  const linked = all.filter((at) => near[at].length > 0);
  const columns = order(linked, layer, near).flatMap((column) => wrapped(column, rows));

  const points = [];
  const height = place(columns, near, (at) => (at < nodes.length
    ? { height: NODE.height, row: GAP.row } : { height: LANE.height, row: LANE.row }), points);
  const width = Math.max(0, columns.length * (NODE.width + GAP.column) - GAP.column);
  const grid = below(alone, points, Math.max(width, 900), height > 0 ? height + 56 : 0);
  return {
    places: new Map(nodes.map(({ id }, at) => [id, points[at]])),
    lanes: new Map([...lanes].map(([id, lane]) =>
      [id, lane.map((at) => ({ x: points[at].x, y: points[at].y + LANE.height / 2 }))])),
    blocks: [],
    width: Math.max(width, grid.width, NODE.width),
    height: Math.max(height, grid.height, NODE.height),
  };
}

/** A block for each group, its nodes in rows; blocks in shelves, the largest first. */
function blocks(nodes) {
  const groups = new Map();
  for (const node of nodes) {
    if (groups.has(node.group)) groups.get(node.group).push(node);
    else groups.set(node.group, [node]);
  }
  const [dx, dy] = [NODE.width + GAP.grid, NODE.height + GAP.grid];
  const list = [...groups].map(([name, members]) => {
    const per = Math.max(1, Math.round(Math.sqrt((members.length * 1.6 * dy) / dx)));
    const rows = Math.ceil(members.length / per);
    return { name, members, per, width: per * dx + GAP.grid, height: rows * dy + GAP.grid + GAP.title };
  });
  list.sort((a, b) => b.height - a.height || b.width - a.width || (a.name < b.name ? -1 : 1));
  const area = list.reduce((all, it) => all + (it.width + GAP.block) * (it.height + GAP.block), 0);
  const most = Math.max(Math.sqrt(area * 1.8), ...list.map((it) => it.width));
  const places = new Map();
  let [x, y, shelf, width] = [0, 0, 0, 0];
  for (const block of list) {
    if (x > 0 && x + block.width > most) [x, y, shelf] = [0, y + shelf + GAP.block, 0];
    Object.assign(block, { x, y });
    block.members.forEach(({ id }, at) => places.set(id, {
      x: x + GAP.grid + (at % block.per) * dx,
      y: y + GAP.title + Math.floor(at / block.per) * dy,
    }));
    x += block.width + GAP.block;
    width = Math.max(width, x - GAP.block);
    shelf = Math.max(shelf, block.height);
  }
  return { places, lanes: new Map(), blocks: list, width, height: y + shelf };
}

/** Arrows that close a cycle, as keys: found going deep, and left out. */
function withoutCycles(next) {
  const [fresh, open, done] = [0, 1, 2];
  const state = next.map(() => fresh);
  const back = new Set();
  // Those that nobody calls first, so that cycles are cut where they come back.
  const called = next.map(() => 0);
  for (const list of next) for (const to of list) called[to] += 1;
  const starts = next.map((_, at) => at).sort((a, b) => called[a] - called[b] || a - b);
  for (const start of starts) {
    if (state[start] !== fresh) continue;
    const stack = [[start, 0]];
    state[start] = open;
    while (stack.length > 0) {
      const top = stack.at(-1);
      const [at, child] = top;
      if (child === next[at].length) {
        state[at] = done;
        stack.pop();
        continue;
      }
      top[1] += 1;
      const to = next[at][child];
      if (state[to] === open) back.add(at * next.length + to);
      else if (state[to] === fresh) {
        state[to] = open;
        stack.push([to, 0]);
      }
    }
  }
  return back;
}

/** The longest way to each node; then those that only call are moved next to whom they call. */
function layers(next, back) {
  const size = next.length;
  const forward = next.map((list, at) => list.filter((to) => !back.has(at * size + to)));
  const waiting = next.map(() => 0);
  for (const list of forward) for (const to of list) waiting[to] += 1;
  const layer = next.map(() => 0);
  const ready = next.map((_, at) => at).filter((at) => waiting[at] === 0);
  const sources = [...ready];
  for (let at = 0; at < ready.length; at += 1) {
    for (const to of forward[ready[at]]) {
      layer[to] = Math.max(layer[to], layer[ready[at]] + 1);
      waiting[to] -= 1;
      if (waiting[to] === 0) ready.push(to);
    }
  }
  for (const at of sources) {
    if (forward[at].length > 0) {
      layer[at] = forward[at].reduce((least, to) => Math.min(least, layer[to]), Infinity) - 1;
    }
  }
  return layer;
}

/** Layers, each ordered by where the neighbours of its nodes are. */
function order(linked, layer, near) {
  const columns = [];
  for (const at of linked) (columns[layer[at]] ??= []).push(at);
  const full = columns.filter(Boolean);
  const rank = new Map();
  const note = (column) => column.forEach((at, row) => rank.set(at, row / column.length));
  full.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const way = sweep % 2 === 0 ? full : [...full].reverse();
    for (const column of way) {
      const mean = new Map(column.map((at) => {
        const sum = near[at].reduce((total, other) => total + rank.get(other), 0);
        return [at, sum / near[at].length];
      }));
      column.sort((a, b) => mean.get(a) - mean.get(b) || a - b);
      note(column);
    }
  }
  return full;
}

/** A layer that is too high is several columns. */
function wrapped(column, rows) {
  const parts = Math.ceil(column.length / rows);
  const each = Math.ceil(column.length / parts);
  return Array.from({ length: parts }, (_, at) => column.slice(at * each, (at + 1) * each));
}

/** Heights: as near to the neighbours as the order allows. Returns the whole height. */
function place(columns, near, size, points) {
  const tall = (column) => column.reduce((all, at) => all + size(at).height + size(at).row, 0);
  const end = Math.max(0, ...columns.map(tall));
  const middle = [];
  for (const column of columns) {
    let top = (end - tall(column)) / 2;
    for (const at of column) {
      const { height, row } = size(at);
      middle[at] = top + (height + row) / 2;
      top += height + row;
    }
  }
  for (let round = 0; round < SWEEPS; round += 1) {
    const way = round % 2 === 0 ? columns : [...columns].reverse();
    for (const column of way) {
      const wanted = column.map((at) =>
        near[at].reduce((total, other) => total + middle[other], 0) / near[at].length);
      settle(wanted, column.map((at) => (size(at).height + size(at).row) / 2), end);
      column.forEach((at, row) => { middle[at] = wanted[row]; });
    }
  }
  columns.forEach((column, at) => {
    for (const it of column) {
      points[it] = { x: at * (NODE.width + GAP.column), y: middle[it] - size(it).height / 2 };
    }
  });
  return end;
}

/** Moves middles apart, in their order, by half their heights, within 0 to `end`. */
function settle(middles, halves, end) {
  let least = 0;
  middles.forEach((value, at) => {
    middles[at] = Math.max(value, least + halves[at]);
    least = middles[at] + halves[at];
  });
  let most = end;
  for (let at = middles.length - 1; at >= 0; at -= 1) {
    middles[at] = Math.min(middles[at], most - halves[at]);
    most = middles[at] - halves[at];
  }
}

/** Nodes without edges, in rows. */
function below(alone, points, width, top) {
  const per = Math.max(1, Math.floor((width + GAP.grid) / (NODE.width + GAP.grid)));
  alone.forEach((at, number) => {
    const x = (number % per) * (NODE.width + GAP.grid);
    const y = top + Math.floor(number / per) * (NODE.height + GAP.grid);
    points[at] = { x, y };
  });
  const rows = Math.ceil(alone.length / per);
  return {
    width: Math.min(alone.length, per) * (NODE.width + GAP.grid) - GAP.grid,
    height: rows === 0 ? 0 : top + rows * (NODE.height + GAP.grid) - GAP.grid,
  };
}

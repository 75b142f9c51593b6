/* The network itself, run in the page in float64: decisions, patterns, local linear models, and straight ways through it.
   A layer is {m, k, rows (of weights), bias, act}. An activation is null (the identity) or breakpoints, slopes and offsets
   per neuron; the piece in force is the number of breakpoints strictly below. */
(() => {
  "use strict";
  const { unpack } = relucidate;
  const given = relucidate.data.case?.network;
  if (!given) return;
  const UNIT = 2 ** -53;
  const SLACK = 1.0625;

  const floats = (packed) => Float64Array.from(unpack(packed).values);
  /* weights row by row: places and values, places null where all are there */
  const rowsOf = (weight) => {
    if (weight.indptr) {
      const [start, place, value] = [unpack(weight.indptr).values, unpack(weight.indices).values, floats(weight.values)];
      return Array.from({ length: start.length - 1 }, (_, i) => [place.slice(start[i], start[i + 1]), value.slice(start[i], start[i + 1])]);
    }
    const [m, k] = weight.shape;
    const value = floats(weight);
    return Array.from({ length: m }, (_, i) => [null, value.subarray(i * k, (i + 1) * k)]);
  };
  const layers = given.layers.map(({ name, k, weight, bias, act }) => {
    const m = bias.shape[0];
    const layer = { name, m, k, rows: rowsOf(weight), bias: floats(bias), act: null, switches: [] };
    if (!act) return layer;
    const p = act.breakpoints.shape[1];
    layer.act = { p, breakpoints: floats(act.breakpoints), slopes: floats(act.slopes), offsets: floats(act.offsets) };
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < p; j++) {
        if (Number.isFinite(layer.act.breakpoints[i * p + j])) layer.switches.push([i, layer.act.breakpoints[i * p + j]]);
      }
    }
    return layer;
  });
  const hidden = layers.slice(0, -1);
  const top = layers[layers.length - 1];
  const nBits = hidden.reduce((n, layer) => n + layer.switches.length, 0);
  const weights = layers.reduce((n, layer) => n + layer.rows.reduce((s, [, value]) => s + value.length, 0), 0);
  const K = top.m;
  const d = layers[0].k;

  const product = ([place, value], a) => {
    let sum = 0;
    if (place) for (let j = 0; j < value.length; j++) sum += value[j] * a[place[j]];
    else for (let j = 0; j < value.length; j++) sum += value[j] * a[j];
    return sum;
  };
  const affine = (layer, a) => {
    const z = new Float64Array(layer.m);
    for (let i = 0; i < layer.m; i++) z[i] = product(layer.rows[i], a) + layer.bias[i];
    return z;
  };
  const piece = (act, i, z) => {
    let k = 0;
    while (k < act.p && z > act.breakpoints[i * act.p + k]) k++;
    return i * (act.p + 1) + k;
  };
  const activated = (layer, z) => {
    if (!layer.act) return z;
    return z.map((value, i) => {
      const at = piece(layer.act, i, value);
      return layer.act.slopes[at] * value + layer.act.offsets[at];
    });
  };

  /* decision, preactivations and pattern of one row; bits are packed, the first is the highest */
  const trace = (x) => {
    const packed = new Uint8Array((nBits + 7) >> 3);
    const z = [];
    let a = x;
    let bit = 0;
    for (const layer of hidden) {
      const here = affine(layer, a);
      for (const [i, at] of layer.switches) {
        if (here[i] > at) packed[bit >> 3] |= 0x80 >> (bit & 7);
        bit++;
      }
      z.push(here);
      a = activated(layer, here);
    }
    return { x, z, packed, decision: affine(top, a) };
  };
  /* whether a preactivation is within its rounding error of a breakpoint, so that float64 cannot tell the pattern */
  const inDoubt = ({ x, z }) => {
    let value = x.map(Math.abs);
    let error = new Float64Array(d);
    for (const [l, layer] of hidden.entries()) {
      const terms = Math.max(0, ...layer.rows.map(([, w]) => w.length)) + 2;
      const size = new Float64Array(layer.m);
      const bound = new Float64Array(layer.m);
      for (let i = 0; i < layer.m; i++) {
        const row = [layer.rows[i][0], layer.rows[i][1].map(Math.abs)];
        size[i] = product(row, value) + Math.abs(layer.bias[i]);
        bound[i] = (product(row, error) + terms * UNIT * size[i]) * SLACK;
      }
      if (layer.switches.some(([i, at]) => bound[i] > 0 && Math.abs(z[l][i] - at) <= bound[i])) return true;
      const width = layer.act ? layer.act.p + 1 : 1;
      const largest = (of, i, none) => (layer.act ? Math.max(...of.subarray(i * width, (i + 1) * width).map(Math.abs)) : none);
      value = size.map((s, i) => largest(layer.act?.slopes, i, 1) * s * SLACK + largest(layer.act?.offsets, i, 0));
      error = bound.map((e, i) => (largest(layer.act?.slopes, i, 1) * e + 3 * UNIT * value[i]) * SLACK);
    }
    return false;
  };

  /* The local linear model of a row, coef[output][feature] and intercept[output], and the nearest facet of its region.
     scale: what counts as one unit of each feature, 0 for one that does not move. */
  const compose = ({ z }, scale) => {
    let V = Array.from({ length: d }, (_, j) => Float64Array.from({ length: d }, (_, i) => (i === j ? 1 : 0)));
    let size = V;
    let c = new Float64Array(d);
    let nearest = null;
    let terms = 0;
    const through = (layer, of) => layer.rows.map(([place, value]) => {
      const out = new Float64Array(d);
      for (let j = 0; j < value.length; j++) {
        const from = of[place ? place[j] : j];
        const w = value[j];
        if (from && w) for (let f = 0; f < d; f++) out[f] += w * from[f];
      }
      return out;
    });
    const first = (layer, absolute) => layer.rows.map(([place, value]) => {
      const out = new Float64Array(d);
      for (let j = 0; j < value.length; j++) out[place ? place[j] : j] = absolute ? Math.abs(value[j]) : value[j];
      return out;
    });
    const positive = (layer) => ({ rows: layer.rows.map(([place, value]) => [place, value.map(Math.abs)]) });
    for (const [l, layer] of hidden.entries()) {
      V = l ? through(layer, V) : first(layer);
      size = l ? through(positive(layer), size) : first(layer, true);
      c = affine(layer, c);
      terms += Math.max(0, ...layer.rows.map(([, w]) => w.length)) + 2;
      for (const [i, at] of layer.switches) {
        let square = 0;
        for (let f = 0; f < d; f++) {
          /* no larger than the rounding of the products it is a sum of: neurons that cancel leave such remains */
          if (Math.abs(V[i][f]) > 4 * terms * UNIT * size[i][f]) square += (V[i][f] * scale[f]) ** 2;
        }
        const distance = Math.abs(z[l][i] - at) / Math.sqrt(square);
        if (square > 0 && (!nearest || distance < nearest.distance)) nearest = { distance, layer: l, neuron: i };
      }
      if (!layer.act) continue;
      const at = z[l].map((value, i) => piece(layer.act, i, value));
      c = c.map((value, i) => layer.act.slopes[at[i]] * value + layer.act.offsets[at[i]]);
      const scaled = (of, i, slope) => (slope === 0 ? null : slope === 1 ? of : of.map((v) => v * slope));
      V = V.map((of, i) => scaled(of, i, layer.act.slopes[at[i]]));
      size = size.map((of, i) => scaled(of, i, Math.abs(layer.act.slopes[at[i]])));
    }
    return { coef: hidden.length ? through(top, V) : first(top), intercept: affine(top, c), nearest };
  };

  /* a + t (b - a), each end exactly */
  const between = (a, b, t) => (t === 0 ? a : t === 1 ? b : a.map((v, j) => v + t * (b[j] - v)));

  /* Every place on the way from a to b where a neuron meets a breakpoint, layer by layer in closed form: t, and decisions there. */
  const walk = (a, b) => {
    let t = [0, 1];
    let values = [a, b];
    for (const layer of hidden) {
      const z = values.map((value) => affine(layer, value));
      const [times, points] = [[t[0]], [z[0]]];
      for (let s = 0; s + 1 < t.length; s++) {
        const met = [];
        for (const [i, at] of layer.switches) {
          if (z[s][i] > at === z[s + 1][i] > at) continue;
          const before = z[s][i] - at;
          const share = before / (before - (z[s + 1][i] - at));
          const where = t[s] + share * (t[s + 1] - t[s]);
          if (where > t[s] && where < t[s + 1]) met.push({ i, at, share, where });
        }
        met.sort((p, q) => p.where - q.where);
        for (const { i, at, share, where } of met) {
          const point = z[s].map((v, n) => v + share * (z[s + 1][n] - v));
          point[i] = at;
          times.push(where);
          points.push(point);
        }
        times.push(t[s + 1]);
        points.push(z[s + 1]);
      }
      t = times;
      values = points.map((point) => activated(layer, point));
    }
    return { t, decision: values.map((value) => affine(top, value)) };
  };
  /* The pieces of the way, on each of which the network is one linear model: {start, stop, packed, middle}. Breakpoints that float64
     cannot tell apart count as one. */
  const path = (a, b) => {
    let moved = 0;
    let away = 0;
    for (let j = 0; j < d; j++) {
      moved += (b[j] - a[j]) ** 2;
      if (b[j] !== a[j]) away += a[j] ** 2;
    }
    const far = moved > 0 ? Math.sqrt(away / moved) : 0;
    const kept = [0];
    for (const t of walk(a, b).t) {
      const least = 2 ** -48 * (t + far);
      if (t > 0 && t < 1 && t - kept[kept.length - 1] >= least && 1 - t > least) kept.push(t);
    }
    kept.push(1);
    const pieces = [];
    for (let p = 0; p + 1 < kept.length; p++) {
      const middle = trace(between(a, b, (kept[p] + kept[p + 1]) / 2));
      const before = pieces[pieces.length - 1];
      if (before && before.packed.every((byte, i) => byte === middle.packed[i])) before.stop = kept[p + 1];
      else pieces.push({ start: kept[p], stop: kept[p + 1], packed: middle.packed, z: middle.z });
    }
    return pieces;
  };
  /* Integrated gradients of a combination of outputs along the way: of each piece its length times its gradient. */
  const integrated = (a, b, pieces, mix) => {
    const sum = new Float64Array(layers[0].m);
    for (const { start, stop, z } of pieces) {
      let v = mix;
      for (let l = layers.length - 1; l > 0; l--) {
        const under = new Float64Array(layers[l].k);
        for (let i = 0; i < layers[l].m; i++) {
          const [place, value] = layers[l].rows[i];
          if (v[i]) for (let j = 0; j < value.length; j++) under[place ? place[j] : j] += v[i] * value[j];
        }
        const { act } = layers[l - 1];
        v = act ? under.map((u, i) => u * act.slopes[piece(act, i, z[l - 1][i])]) : under;
      }
      for (let i = 0; i < sum.length; i++) sum[i] += (stop - start) * v[i];
    }
    const out = new Float64Array(d);
    layers[0].rows.forEach(([place, value], i) => {
      if (sum[i]) for (let j = 0; j < value.length; j++) out[place ? place[j] : j] += sum[i] * value[j];
    });
    return out.map((g, j) => g * (b[j] - a[j]));
  };

  /* predictions from decisions, as the network's link has it */
  const predicted = (decision) => {
    if (given.link === "logit") return decision.map((v) => (v >= 0 ? 1 / (1 + Math.exp(-v)) : Math.exp(v) / (1 + Math.exp(v))));
    if (given.link === "log") return decision.map(Math.exp);
    if (given.link === "identity") return decision;
    const most = Math.max(...decision);
    const e = decision.map((v) => Math.exp(v - most));
    const total = e.reduce((s, v) => s + v, 0);
    return e.map((v) => v / total);
  };
  const largest = (decision) => decision.reduce((best, v, k) => (v > decision[best] ? k : best), 0);
  /* what is decided: the class on top, or whether an output is above 0 */
  const side = (decision, k) => (given.link === "softmax" ? largest(decision) : decision[k] > 0 ? 1 : 0);

  /* The nearest place on the way from a to b at which the decision changes, as {t, side}; null if it does not. */
  const change = (a, b, k) => {
    const { t, decision } = walk(a, b);
    const before = side(decision[0], k);
    for (let s = 0; s + 1 < t.length; s++) {
      const [from, to] = [decision[s], decision[s + 1]];
      if (side(to, k) === before) continue;
      let best = { share: 1, side: side(to, k) };
      const gaps = given.link === "softmax" ? from.map((v, c) => from[before] - v) : [from[k]];
      const later = given.link === "softmax" ? to.map((v, c) => to[before] - v) : [to[k]];
      gaps.forEach((gap, c) => {
        if (given.link === "softmax" && (c === before || later[c] >= 0)) return;
        const share = gap === later[c] ? 1 : gap / (gap - later[c]);
        if (share < best.share) best = { share, side: given.link === "softmax" ? c : 1 - before };
      });
      return { t: t[s] + best.share * (t[s + 1] - t[s]), side: best.side };
    }
    return null;
  };

  relucidate.network = { K, d, nBits, weights, layers, link: given.link, trace, inDoubt, compose, between, walk, path, integrated, predicted, largest, side, change };
})();

// Ranking the candidates of a query that was read as a whole: the same evidence, relevance and scores as
// vitdsi/exported/rank.py.

/** Results {id, score, logProb}, best first, of the candidates `found`, a list of [id, log-probability]. */
export function rank(found, embedding, leaves, scoring, rerank) {
  const candidates = found.map(([id, logProb]) => ({ id, evidence: evidence(id, logProb, embedding, leaves, scoring) }));
  if (rerank) {
    for (const candidate of candidates) candidate.value = relevance(candidate.evidence, scoring);
    raiseFirst(candidates, scoring);
    candidates.sort((one, other) => other.value - one.value);
  }
  return candidates.map(({ id, evidence: found }) => ({ id, score: score(found, scoring), logProb: found[0] }));
}

/** The log-probability, the cosine of the pictures, and that of what they show. */
function evidence(id, logProb, embedding, leaves, { categories }) {
  if (!leaves) return [logProb, 0, 0];
  const vector = leaves.take(id);
  const split = embedding.length - categories;
  return [logProb, cosine(vector, embedding, 0, split), categories ? cosine(vector, embedding, split, embedding.length) : 0];
}

function cosine(one, other, from, to) {
  let [product, ofOne, ofOther] = [0, 0, 0];
  for (let at = from; at < to; at += 1) {
    product += one[at] * other[at];
    ofOne += one[at] * one[at];
    ofOther += other[at] * other[at];
  }
  return product / Math.max(Math.sqrt(ofOne), 1e-12) / Math.max(Math.sqrt(ofOther), 1e-12);
}

function relevance([logProb, picture, category], scoring) {
  const same = scoring.same * Math.max(picture - scoring.same_above, 0);
  return scoring.category * category + scoring.log_prob * logProb + scoring.picture * picture + same;
}

/** Give the first place to the strongest claim to it, if it is strong enough. */
function raiseFirst(candidates, { sharpness, first }) {
  if (!first || !candidates.length) return;
  const claims = candidates.map(({ evidence: [logProb, picture] }) => sharpness * picture + first.log_prob * logProb);
  const strongest = claims.indexOf(Math.max(...claims));
  if (first.above === null || claims[strongest] > first.above) candidates[strongest].value = Infinity;
}

/** The probability that a candidate is right. */
function score([logProb, picture, category], { weights, bias, lowest_log_prob: lowest }) {
  if (!weights) return Math.exp(logProb);
  const logit = weights[0] * Math.max(logProb, lowest) + weights[1] * picture + weights[2] * category + bias;
  return 1 / (1 + Math.exp(-Math.min(80, Math.max(-80, logit))));
}

// The symbols that were added, and the answer for a drawing: as the classifier of the package.

// An exemplar is { name, row, level, box, picture }.
export class Support {
  exemplars = [];

  get names() {
    return [...new Set(this.exemplars.map(({ name }) => name))];
  }

  of(name) {
    return this.exemplars.filter((exemplar) => exemplar.name === name);
  }

  add(exemplar) {
    this.exemplars.push(exemplar);
  }

  remove(name) {
    this.exemplars = this.exemplars.filter((exemplar) => exemplar.name !== name);
  }

  // Return the least number that is no name yet.
  freeName() {
    let number = 1;
    while (this.names.includes(String(number))) number++;
    return String(number);
  }

  // Return { classes, isDoubtful }: classes are { name, p, exemplar }, the most likely first.
  async answer(network, query) {
    const { calibration, rejection_threshold: threshold } = network.about;
    const groups = this.names.map((name) => this.of(name));
    const logits = await network.compare(query.row, groups.map((group) => meanOf(group.map((e) => e.row))));
    const scores = logits.map((logit, k) => {
      const level = meanOf(groups[k].map((e) => [e.level]))[0];
      return logit - (calibration.slope / 2) * (query.level + level);
    });
    const score = Math.max(...scores) - Math.log(groups.length);
    const p = softmax(logits);
    const nearest = await Promise.all(groups.map((group) => nearestOf(network, query, group)));
    const classes = groups
      .map(([{ name }], k) => ({ name, p: p[k], exemplar: nearest[k] }))
      .sort((a, b) => b.p - a.p);
    return { classes, isDoubtful: threshold !== null && score < threshold };
  }
}

async function nearestOf(network, query, group) {
  if (group.length === 1) return group[0];
  const logits = await network.compare(query.row, group.map(({ row }) => row));
  return group[logits.indexOf(Math.max(...logits))];
}

function meanOf(rows) {
  return rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

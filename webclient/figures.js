/** The last few values of something measured. */

export class Recent {
  /** @param {number} size how many are kept */
  constructor(size = 100) {
    this.size = size;
    /** @type {number[]} */
    this.values = [];
  }

  /** @param {number} value */
  add(value) {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  clear() {
    this.values = [];
  }

  /** @param {number} share 0..1 @returns {number} 0 where there is nothing yet */
  quantile(share) {
    if (!this.values.length) return 0;
    const sorted = [...this.values].sort((a, b) => a - b);
    return sorted[Math.round((sorted.length - 1) * share)];
  }
}

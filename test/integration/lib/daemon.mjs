/*
 * daemon.mjs - what the broker and the relay have in common as child processes: how they are ended, and the proof that
 * they stopped cleanly and no sanitizer had anything to say. A daemon has a proc (proc.mjs).
 */
import { existsSync, readFileSync } from 'node:fs';
import { scaled } from './env.mjs';

const REPORT = /ERROR: (?:Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed/;

export class Daemon {
  constructor(what) {
    this.what = what;
  }

  get log() {
    return this.proc.stderr;
  }

  /* SIGTERM; resolves with the exit when it went cleanly, rejects with the reason when not. One that is frozen is thawed. */
  async stop(signal = 'SIGTERM') {
    if (!this.proc.exited) {
      this.proc.child.kill(signal);
      this.thaw();
    }
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, scaled(30000), 'late');
    });
    const how = await Promise.race([this.proc.exit, late]);
    clearTimeout(timer);
    if (how === 'late') {
      await this.proc.kill('SIGKILL');
      throw new Error(`the ${this.what} did not stop within 30 s of SIGTERM`);
    }
    this.checkEnd();
    return how;
  }

  checkEnd() {
    if (this.checked) return;
    this.checked = true;
    const { code, signal } = this.proc.result;
    const report = REPORT.exec(this.log);
    if (report) throw new Error(`the ${this.what} reported: ${report[0]}`);
    if (this.killed && signal === 'SIGKILL') return;
    if (code !== 0) throw new Error(`the ${this.what} ended with code ${code}, signal ${signal}`);
  }

  /* kill -9: a crash on purpose. */
  async crash() {
    this.killed = true;
    await this.proc.kill('SIGKILL');
  }

  /* Only where it is frozen: SIGCONT takes away the SIGSTOP by which a leak sanitizer stops its process at the end, and
   * then that waits for ever. */
  thaw() {
    const file = `/proc/${this.proc.pid}/stat`;
    const stat = existsSync(file) ? readFileSync(file, 'utf8') : '';
    if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')) this.proc.child.kill('SIGCONT');
  }
}

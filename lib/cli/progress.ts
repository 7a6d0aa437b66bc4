/** The progress of a cleanup on stderr: a bar on a terminal, or else a line every ten seconds. */
import type { ClearExpiredReport } from '../contract.js'
import { type Io, print, type Stream, widthOf } from './io.js'
import { counted, duration, grouped } from './text.js'

export interface Progress {
  update(report: ClearExpiredReport): void
  end(): void
}

/** The time between two lines in milliseconds. A shorter cleanup prints no line, so that cron sends no mail. */
const LINE_INTERVAL = 10_000

/** @param total the number of sessions to remove. Null if it is unknown */
export async function startProgress(total: number | null, { stderr }: Io): Promise<Progress> {
  return total !== null && stderr.isTTY ? startBar(total, stderr) : startLines(stderr)
}

export function startLines(stderr: Stream): Progress {
  let printed = 0
  return {
    update({ deleted, milliseconds }) {
      if (milliseconds - printed < LINE_INTERVAL) return
      printed = milliseconds
      print(stderr, `Removed ${counted(deleted, 'expired session')}, ${grouped(rate(deleted, milliseconds))} a second`)
    },
    end() {}
  }
}

async function startBar(total: number, stream: Stream): Promise<Progress> {
  const { default: progress } = await import('cli-progress')
  const bar = new progress.SingleBar(
    {
      stream,
      format: '{bar} {percentage}%  {value} of {total}  {rate}/s  {left} left',
      barsize: widthOf(stream) < 80 ? 8 : 24,
      clearOnComplete: true,
      // cli-progress would turn line wrapping off, and a second Ctrl-C would leave it off.
      linewrap: true,
      formatValue: (value, _options, type) => (type === 'percentage' ? String(value).padStart(3) : grouped(value))
    },
    progress.Presets.shades_classic
  )
  bar.start(total, 0, { rate: '-', left: '-' })
  return {
    update({ deleted, milliseconds }) {
      // More sessions have expired since they were counted.
      if (deleted > bar.getTotal()) bar.setTotal(deleted)
      const perSecond = rate(deleted, milliseconds)
      bar.update(deleted, { rate: grouped(perSecond), left: duration((bar.getTotal() - deleted) / Math.max(perSecond, 1)) })
    },
    end: () => bar.stop()
  }
}

/** The average number of sessions removed in a second. */
function rate(deleted: number, milliseconds: number): number {
  return deleted / Math.max(milliseconds / 1000, 0.001)
}

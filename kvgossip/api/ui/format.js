// Numbers and times as people read them. No number stands without its unit.

const WHOLE = new Intl.NumberFormat('en-US')
const DASH = '–'
const DAY_S = 86400

export const number = (value) => (value == null ? DASH : WHOLE.format(value))

export const count = (value, noun, nouns = `${noun}s`) =>
  `${number(value)} ${value === 1 ? noun : nouns}`

// The order of names, as people count: n2 stands before n10.
export const byName = new Intl.Collator('en', { numeric: true }).compare

const short = (value) => (value >= 100 ? Math.round(value) : Number(value.toPrecision(2)))

export function bytes(value) {
  if (value == null) return DASH
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (value < 1000) return `${unit === 'B' ? Math.round(value) : short(value)} ${unit}`
    value /= 1000
  }
  return `${short(value)} TB`
}

export function ms(value) {
  if (value == null) return DASH
  if (Math.abs(value) >= 10_000) return duration(value / 1000)
  if (Math.abs(value) >= 1000) return `${Number((value / 1000).toPrecision(2))} s`
  return `${value < 0 ? '−' : ''}${short(Math.abs(value))} ms`
}

export const signedMs = (value) => (value > 0 ? `+${ms(value)}` : ms(value))

// A span of time in its greatest unit.
export function duration(s) {
  if (s == null) return DASH
  if (s < 0) return `−${duration(-s)}`
  if (s < 60) return `${Math.floor(s)} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 2 * DAY_S) return `${Math.floor(s / 3600)} h`
  return `${Math.floor(s / DAY_S)} d`
}

export const ageOf = (atMs) => Math.max(0, Date.now() - atMs) / 1000
export const ago = (s) => (s == null ? DASH : s < 1 ? 'just now' : `${duration(s)} ago`)

// The time of day, with the day where that is another one.
export function clock(atMs) {
  const at = new Date(atMs),
    pad = (part) => String(part).padStart(2, '0')
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`
  if (at.toDateString() === new Date().toDateString()) return time
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`
}

// When a version was written: the first 48 bits are milliseconds since 1970.
export const writtenMs = (version) => parseInt(version.slice(0, 12), 16)
export const siteOf = (version) => version.slice(17)

/** Shows the results of experiments on the page of their buttons. Without it each has a page of its own. */

for (const form of document.querySelectorAll('form.experiment')) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const button = form.querySelector('button')
    const result = form.parentElement.querySelector('.result')
    button.disabled = true
    try {
      show(result, await run(form))
    } catch (error) {
      result.textContent = `That did not work: ${error.message}`
    }
    button.disabled = false
  })
}

async function run(form) {
  const { times, begin, result } = form.dataset
  if (times === undefined) return ask(form.action, 'POST')
  await ask(begin, 'POST')
  await Promise.all(Array.from({ length: Number(times) }, () => ask(form.action, 'POST')))
  return ask(result)
}

async function ask(url, method = 'GET') {
  const response = await fetch(url, { method, headers: { accept: 'text/plain' } })
  if (!response.ok) throw new Error(`status ${response.status}`)
  return response.text()
}

/** The server has escaped what visitors wrote. */
function show(result, html) {
  result.innerHTML = html
  for (const countdown of result.querySelectorAll('.countdown')) count(countdown)
}

for (const countdown of document.querySelectorAll('.countdown')) count(countdown)

/** Counts down from `data-seconds`, and then shows the result of `data-then` in its place. */
function count(countdown) {
  const { seconds, then } = countdown.dataset
  const result = countdown.closest('.result')
  const progress = countdown.parentElement.querySelector('progress')
  const end = performance.now() + seconds * 1000
  const timer = setInterval(async () => {
    // The button was pressed again.
    if (!countdown.isConnected) return clearInterval(timer)
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000))
    if (progress !== null) progress.value = left
    countdown.textContent = `in ${inWords(left)}`
    if (left > 0) return
    clearInterval(timer)
    if (then !== undefined) show(result, await ask(then))
  }, 200)
}

/** Such as 13 days 23 hours 59 minutes 12 seconds. */
function inWords(seconds) {
  const units = {
    day: Math.floor(seconds / 86_400),
    hour: Math.floor(seconds / 3600) % 24,
    minute: Math.floor(seconds / 60) % 60,
    second: seconds % 60
  }
  const parts = Object.entries(units).filter(([, count]) => count > 0)
  return parts.length === 0 ? '0 seconds' : parts.map(([unit, count]) => `${count} ${unit}${count === 1 ? '' : 's'}`).join(' ')
}

for (const button of document.querySelectorAll('button[data-username]')) {
  button.hidden = false
  button.addEventListener('click', () => {
    const { username, password } = button.dataset
    document.querySelector('#username').value = username
    document.querySelector('#password').value = password
    document.querySelector('#password').focus()
  })
}

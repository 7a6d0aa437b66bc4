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
  const countdown = result.querySelector('.countdown')
  if (countdown !== null) count(result, countdown)
}

function count(result, countdown) {
  const { seconds, then } = countdown.dataset
  const end = performance.now() + seconds * 1000
  const timer = setInterval(async () => {
    // The button was pressed again.
    if (!countdown.isConnected) return clearInterval(timer)
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000))
    countdown.querySelector('progress').value = left
    countdown.querySelector('span').textContent = `It ends in ${left} second${left === 1 ? '' : 's'}.`
    if (left > 0) return
    clearInterval(timer)
    show(result, await ask(then))
  }, 200)
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

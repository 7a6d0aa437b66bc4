/**
 * Drives the example site with a real browser: `npm run unit -- --timeout=900 test/browser/site.ts`
 * after `npm run build`. SCREENSHOTS names a folder for pictures of every page.
 */
import './visitors.ts'
import './logins.ts'
import './cookies.ts'
import './pages.ts'

/** The table of django-allauth's `allauth.usersessions.models.UserSession`: which session is whose, and where it was seen. */

/** Django's name of the table. */
export const USER_SESSIONS_TABLE = 'usersessions_usersession'

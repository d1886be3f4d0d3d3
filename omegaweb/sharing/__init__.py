"""Who lets whom use what: grants on datasets, models and buckets, kept here and nowhere in MongoDB.

Nobody gets rights in another's database: what is shared is read and written by omegaweb with its owner's
login, once the grant was looked up (`omegaweb.api.sharing`).
"""

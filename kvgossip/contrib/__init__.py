"""A ConfigCache by the extension points of libraries that people already use. Each module is loaded
by those alone who have its library: `pip install 'kvgossip[NAME]'`.

openfeature     a provider of OpenFeature: flags are keys
pydantic        a source of pydantic-settings: fields are keys
django          an app of Django: a system check, and the cache of the project
constance       a backend of django-constance: what its admin page shows, every process has at once
dynaconf        a loader of Dynaconf
prometheus      a collector of prometheus-client: refusals, age and release of caches
named           the cache that a setting names
nesting         keys with slashes as mappings within each other
"""

// Secures the new MongoDB of a cluster in containers, through the localhost exception and with the passwords that are
// mounted there: docker compose exec -T mongodb mongosh --quiet < scripts/mongoinit.js
// A second run answers code 13, unauthorized, by which one sees that the first was successful.
(() => {
  const secret = (name) => require('fs').readFileSync(`/run/secrets/${name}`, 'utf8').trim();
  const admin = db.getSiblingDB('admin');
  const secure = () => {
    try {
      admin.adminCommand({ replSetInitiate: { _id: 'rs0', members: [{ _id: 0, host: 'mongodb:27017' }] } });
    } catch (error) {
      if (error.code !== 23) throw error; // already initialized: an earlier run was interrupted
    }
    while (!admin.hello().isWritablePrimary) sleep(100);
    admin.createUser({ user: 'root', pwd: secret('root_password'), roles: ['root'] });
    return { ok: 1 };
  };
  const unauthorized = (error) => {
    if (error.code !== 13) throw error;
    return { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'unauthorized: this MongoDB is secured already' };
  };
  let answer;
  try {
    answer = secure();
  } catch (error) {
    answer = unauthorized(error);
  }
  admin.auth('root', secret('root_password'));
  // who makes the users of accounts, as omegaml.admin says: users and their roles, and no data at all
  const name = 'omega_provision';
  const actions = ['createUser', 'dropUser', 'viewUser', 'changePassword', 'grantRole', 'revokeRole', 'dropDatabase'];
  const privileges = [{ resource: { db: '', collection: '' }, actions }];
  if (admin.getRole(name)) admin.updateRole(name, { privileges, roles: [] });
  else admin.createRole({ role: name, privileges, roles: [] });
  const user = { pwd: secret('provision_password'), roles: [{ role: name, db: 'admin' }] };
  if (admin.getUser(name)) admin.updateUser(name, user);
  else admin.createUser({ user: name, ...user });
  print(EJSON.stringify(answer));
})();

// Prints the results of graphql-http's audit suite for the server at argv[2], as JSON.
import { auditServer } from './audits/server.mjs';

const results = await auditServer({ url: process.argv[2] });
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));

// An OpenID provider at https://id.example.com, with oidc-provider's own sign-in pages. A user who enters the login `x`
// is x@example.com, and one of the staff. `x-alone` is the same person in no group, and `x-busy` in so many that the
// session is longer than one cookie. The login `nobody` has no address, and a whole address stands for itself.
//
//   node provider.mjs FOLDER        FOLDER has cert.pem and key.pem
//
// PROVIDER_PACKAGES is the folder with node_modules, ID_TOKEN_SECONDS how long an ID token is good for, CLIENT_AUTH how
// the client sends its secret, and ROUTES the paths that are not the provider's usual ones. It writes the key that
// signs its tokens to signing.pem in FOLDER.
import { createHash, generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.PROVIDER_PACKAGES}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const [folder] = process.argv.slice(2);

// Names that no compression makes short.
const many = Array.from({ length: 100 }, (_, index) => createHash("sha256").update(`${index}`).digest("hex").slice(0, 16));

function claims(login) {
  const [name, kind] = login.split("-");
  const email = login === "nobody" ? {} : { email: login.includes("@") ? login : `${name}@example.com`, email_verified: true };
  const groups = { alone: {}, busy: { groups: ["staff", ...many] } }[kind] ?? { groups: ["staff"] };
  return { sub: login, preferred_username: name, ...email, ...groups };
}

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
writeFileSync(`${folder}/signing.pem`, privateKey.export({ type: "pkcs8", format: "pem" }));

const provider = new Provider("https://id.example.com", {
  clients: [
    {
      client_id: "openclaw",
      client_secret: "a secret of this test alone, 0123",
      redirect_uris: ["https://claw.example.com/oauth2/callback"],
      token_endpoint_auth_method: process.env.CLIENT_AUTH ?? "client_secret_post",
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "login", use: "sig", alg: "RS256" }] },
  routes: JSON.parse(process.env.ROUTES ?? "{}"),
  ttl: { IdToken: Number(process.env.ID_TOKEN_SECONDS) },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["preferred_username", "groups"] },
  // Envoy reads the address from the ID token.
  conformIdTokenClaims: false,
  findAccount: (_, login) => ({ accountId: login, claims: () => claims(login) }),
});
provider.on("server_error", (_, error) => console.error(error));
const tls = { cert: readFileSync(`${folder}/cert.pem`), key: readFileSync(`${folder}/key.pem`) };
createServer(tls, provider.callback()).listen(443, "10.0.0.4", () => console.log("ready"));

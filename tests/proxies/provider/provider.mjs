// An OpenID provider at https://id.example.com, with oidc-provider's own sign-in pages: a user who enters the login
// `x` is x@example.com.
//
//   node provider.mjs FOLDER        FOLDER has cert.pem and key.pem
//
// PROVIDER_PACKAGES is the folder with node_modules, and ID_TOKEN_SECONDS how long an ID token is good for.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.PROVIDER_PACKAGES}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const [folder] = process.argv.slice(2);

const provider = new Provider("https://id.example.com", {
  clients: [
    {
      client_id: "openclaw",
      client_secret: "a secret of this test alone, 0123",
      redirect_uris: ["https://claw.example.com/oauth2/callback"],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  ttl: { IdToken: Number(process.env.ID_TOKEN_SECONDS) },
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  // Envoy reads the address from the ID token.
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true }),
  }),
});
provider.on("server_error", (_, error) => console.error(error));
const tls = { cert: readFileSync(`${folder}/cert.pem`), key: readFileSync(`${folder}/key.pem`) };
createServer(tls, provider.callback()).listen(443, "10.0.0.4", () => console.log("ready"));
